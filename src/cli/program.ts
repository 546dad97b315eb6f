/** The command line: one command per file. */
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { addBench } from './bench.js';
import { addDoctor } from './doctor.js';
import { addGenerate } from './generate.js';
import { addInspect } from './inspect.js';
import { addLaunch } from './launch.js';
import { addMerge } from './merge.js';
import { addModels } from './models.js';
import { addGlobalOptions } from './options.js';
import { addPlan } from './plan.js';
import { addRun } from './run.js';
import { addScore } from './score.js';
import { addTrain } from './train.js';
import { addWatch } from './watch.js';

const examples = `
A first walk:
  $ npm start                                           the whole study on a small real model
  $ compress-distill doctor                             what this machine has, and what it lacks
  $ compress-distill models fetch smollm2-135m-instruct
  $ compress-distill generate --model smollm2-135m-instruct --prompts in.jsonl --out out.jsonl --max-tokens 64
  $ compress-distill run examples/quickstart.yaml       the study again, from YAML that you can change

\`compress-distill help COMMAND\` has examples for each command.`;

function version(): string {
  for (const up of ['../..', '../../..']) {
    try {
      return (JSON.parse(readFileSync(new URL(`${up}/package.json`, import.meta.url), 'utf8')) as { version: string })
        .version;
    } catch {}
  }
  return 'unknown';
}

export function createProgram(): Command {
  const program = new Command('compress-distill')
    .description(
      'Distils reasoning models and measures what compressing their traces does: inference, training and the study in one process.',
    )
    .version(version())
    .configureHelp({ showGlobalOptions: true, sortSubcommands: false })
    // One line: "error: unknown option '--tempreature' (Did you mean --temperature?)"
    .configureOutput({ outputError: (text, write) => write(`${text.trim().replaceAll(/\s*\n\s*/g, ' ')}\n`) })
    .addHelpText('after', examples);
  addGlobalOptions(program);
  for (const add of [
    addRun,
    addPlan,
    addWatch,
    addTrain,
    addLaunch,
    addGenerate,
    addScore,
    addInspect,
    addMerge,
    addModels,
    addBench,
    addDoctor,
  ])
    add(program);
  return program;
}
