import type { Command } from 'commander';
import { readYaml } from '../data/yaml_file.js';
import { createProgress, formatDuration, type Meter } from '../pipeline/progress.js';
import { tokeniseMeter } from '../pipeline/tokenise_meter.js';
import { describeMemory, formatBytes } from '../training/memory_plan.js';
import type { TrainOptions, TrainStart } from '../training/train.js';
import { interruptible } from './interrupt.js';
import { addMeshOption, type GlobalOptions } from './options.js';
import { runStages } from './run.js';
import { isStudy, parseTrainingFile } from './training_file.js';

const examples = `
FILE.yaml, in short:
  model: smollm2-135m-instruct
  data: conversations.jsonl        # {"id", "messages": [{"role", "content", "reasoning_content"?}]}
  output: runs/my-student
  method: lora                     # or full
  objective: cross-entropy         # weighted, length-weighted, forward-kl, reverse-kl, or your own ./mine.ts

The output folder holds metrics.jsonl ({step, loss, learningRate, gradNorm, tokens,
tokensPerSecond, modelFlopUtilisation}) and the weights:
PEFT's layout for LoRA, safetensors + config.json for full training; peft and transformers load them as they are.

A file of Axolotl's (it has 'base_model') works too: every key is said to be mapped, ignored with the reason, or refused.
Given the YAML of a study, it runs the study's stage 'train': every arm and student.

Examples:
  $ compress-distill inspect my-student.yaml               see which tokens are trained, first
  $ compress-distill train my-student.yaml
  $ compress-distill train my-student.yaml --threads 4 --dtype bf16
  $ compress-distill train my-student.yaml --device cuda --mesh dp=4`;

export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .summary('fine-tune a model as a YAML file says')
    .description('Fine-tunes a model, LoRA or full, on the assistant turns of conversations.')
    .argument('<file>', 'YAML: model, data, output and how to train');
  addMeshOption(command)
    .addHelpText('after', examples)
    .action((file: string, _, self: Command) => trainFile(file, self.optsWithGlobals()));
}

async function trainFile(file: string, options: GlobalOptions): Promise<void> {
  const { value } = await readYaml(file);
  if (isStudy(value)) return runStages(file, options, ['train']);
  const config = await parseTrainingFile(value, file, options);
  await interruptible('The same command resumes from the last checkpoint.', async (signal) => {
    const { train } = await import('../training/train.js');
    const { withProcesses } = await import('../distributed/with_processes.js');
    const progress = createProgress();
    let meter: Meter | null = null;
    let step = '';
    let validation = '';
    const state = () => step + validation;
    const options: TrainOptions = {
      signal,
      onTokenise: tokeniseMeter(progress),
      onStart: (start) => {
        progress.note(describeStart(start));
        progress.note(describeRoom(start));
        meter = progress.start('train', start.totalSteps, start.resumedStep, 'steps', state);
      },
      onStep: ({ loss, tokens, tokensPerSecond, modelFlopUtilisation: used }) => {
        const share = used === undefined ? '' : ` · ${(100 * used).toFixed(0)} % of peak FLOP/s`;
        step = `${Math.round(tokensPerSecond)} tokens/s${share} · loss ${loss.toFixed(4)}`;
        meter!.advance(1, tokens);
      },
      onSkip: ({ skipped }) => {
        progress.note(`skipped: ${skipped}`);
        meter!.advance(1);
      },
      onValidation: ({ validationLoss, validationObjective: own }) => {
        validation = ` · validation ${validationLoss.toFixed(4)}${own === undefined ? '' : `, objective ${own.toFixed(4)}`}`;
      },
    };
    const result = await withProcesses(config.mesh, config.device, async (processes) => {
      // The first process writes and speaks for all.
      if (processes === null || processes.rank === 0) return train(config, { ...options, processes });
      await train(config, { signal, processes });
      return null;
    }).finally(() => meter?.finish());
    if (result === null) return;
    if (meter === null) progress.note('This run is finished; `resume: false` in its file would do it anew.');
    console.log(
      `${result.output}: ${result.steps} steps, ${result.trainedTokens} trained tokens in ${formatDuration(result.seconds)}, final loss ${result.finalLoss.toFixed(4)}${result.validationLoss == null ? '' : `, validation loss ${result.validationLoss.toFixed(4)}`}`,
    );
  });
}

function describeStart({
  dataset,
  validationRows,
  totalSteps,
  resumedStep,
  packs,
  packingEfficiency,
  trainableParameters,
}: TrainStart): string {
  const dropped = dataset.dropped > 0 ? `, ${dataset.dropped} dropped as longer than ${dataset.maxTokens} tokens` : '';
  const cut = dataset.truncated > 0 ? `, ${dataset.truncated} cut to ${dataset.maxTokens} tokens` : '';
  const held = validationRows > 0 ? `, ${validationRows} held out for validation` : '';
  const resumed = resumedStep > 0 ? `, from the checkpoint of step ${resumedStep}` : '';
  return (
    `${dataset.rows} rows${dataset.reused ? ', tokenised by an earlier run' : ''}${dropped}${cut}${held}: ${dataset.tokens} tokens, ${dataset.trainedTokens} of them trained, in ${packs} packs ` +
    `(${(packingEfficiency * 100).toFixed(1)} % full); ${trainableParameters} trainable parameters; ${totalSteps} steps${resumed}`
  );
}

function describeRoom({ weights, memory, availableMemory }: TrainStart): string {
  return `weights in ${weights}; memory, estimated: ${describeMemory(memory)}, of ${formatBytes(availableMemory)} free`;
}
