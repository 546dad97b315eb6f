// What people get wrong: one line that names the remedy, exit 1, nothing written.
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { modelFolder } from '../support/fixtures.js';
import { type Outcome, run, temporaryFolder, writeRows } from './command.js';

const folder = temporaryFolder();
const path = (name: string): string => join(folder(), name);

/** All files but those of the user's cache, which belongs to the user and may gain a folder. */
const filesHere = (): string[] =>
  (readdirSync(folder(), { recursive: true }) as string[]).filter((name) => name.split('/')[0] !== 'cache');

/** One line on stderr, exit 1, and the folder as it was before. */
function expectRefusal(args: readonly string[], message: RegExp): void {
  const before = filesHere();
  const outcome: Outcome = run(args, folder());
  expect(outcome.errors, outcome.stderr).toEqual([expect.stringMatching(message)]);
  expect(outcome.stderr.trimEnd()).toBe(outcome.errors[0]);
  expect(outcome.status).toBe(1);
  expect(filesHere()).toEqual(before);
}

/** Generates from a copy of the model `tied` that `spoil` has changed. */
function expectModelRefusal(spoil: (weights: string) => void, message: RegExp): void {
  cpSync(modelFolder('tied'), path('model'), { recursive: true });
  spoil(path('model/model.safetensors'));
  writeRows(path('in.jsonl'), [{ id: 'a', tokens: [1, 2, 3] }]);
  expectRefusal(['generate', '--model', 'model', '--prompts', 'in.jsonl', '--out', 'out.jsonl'], message);
}

function edit(file: string, change: (value: Record<string, unknown>) => void): void {
  const value = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  change(value);
  writeFileSync(file, JSON.stringify(value));
}

test('an option with a typing error names the nearest one', () => {
  expectRefusal(
    ['generate', '--tempreature', '0'],
    /^error: unknown option '--tempreature' \(Did you mean --temperature\?\)$/,
  );
  expectRefusal(['genrate'], /^error: unknown command 'genrate' \(Did you mean generate\?\)$/);
  expectRefusal(['generate'], /^error: required option '--model <model>' not specified$/);
});

test('an option with a value that cannot be is named as it was typed', () => {
  writeRows(path('in.jsonl'), [{ id: 'a', tokens: [1, 2, 3] }]);
  const args = ['generate', '--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  expectRefusal(
    [...args, '--top-p', '3'],
    /^error: Expected '--top-p' to be a number over 0 and at most 1 but received 3$/,
  );
  expectRefusal(
    [...args, '--max-model-len', '99999'],
    /^error: Expected '--max-model-len' to be at most the model's context/,
  );
  expectRefusal(
    [...args, '--max-model-len', '128', '--kv-cache-gib', '1e-6'],
    /^error: Expected '--kv-cache-gib' to be enough for one sequence of 128 tokens .* or lower '--max-model-len'$/,
  );
});

test('a model that is not there', () => {
  writeRows(path('in.jsonl'), [{ id: 'a', prompt: 'x' }]);
  const args = ['--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  expectRefusal(['generate', '--model', 'smollm2-135-instruct', ...args], /did you mean 'smollm2-135m-instruct'/);
  expectRefusal(
    ['generate', '--model', 'smollm2-135m-instruct', ...args],
    /compress-distill models fetch smollm2-135m-instruct/,
  );
});

test('a device that is not there', () => {
  writeRows(path('in.jsonl'), [{ id: 'a', tokens: [1] }]);
  const args = ['--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  expectRefusal(['generate', ...args, '--device', 'gpu'], /'cpu'.*received 'gpu'/);
  expectRefusal(['generate', ...args, '--dtype', 'fp16'], /--dtype.*f32, bf16/);
});

test('missing weights', () => {
  expectModelRefusal((weights) => truncateSync(weights, 0), /model\.safetensors/);
  expectRefusal(['generate', '--model', '.', '--prompts', 'in.jsonl', '--out', 'out.jsonl'], /config\.json/);
});

test('truncated weights', () => {
  expectModelRefusal(
    (weights) => truncateSync(weights, 100_000),
    /model\.safetensors.*(truncated|incomplete|shorter|fetch)/,
  );
});

test('a header that claims terabytes', () => {
  expectModelRefusal((weights) => {
    const bytes = readFileSync(weights);
    bytes.writeBigUInt64LE(1n << 42n);
    writeFileSync(weights, bytes);
  }, /model\.safetensors.*header/);
});

test('an unknown architecture', () => {
  expectModelRefusal(
    (weights) =>
      edit(join(weights, '../config.json'), (config) => {
        config.architectures = ['MambaForCausalLM'];
        config.model_type = 'mamba';
      }),
    /mamba/i,
  );
});

test('a weight that is not there', () => {
  expectModelRefusal(
    (weights) =>
      edit(join(weights, '../config.json'), (config) => {
        config.num_hidden_layers = 9;
      }),
    /weight 'model\.layers\.\d+\..*missing/,
  );
});

test('malformed JSONL names file and line', () => {
  writeFileSync(path('in.jsonl'), '{"id": "a", "prompt": "x"}\n{"id": "b", "prompt": x}\n');
  const args = ['generate', '--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', 'out.jsonl'];
  expectRefusal(args, /^error: in\.jsonl:2: .*JSON/);
});

test('an output that cannot be written', () => {
  writeRows(path('in.jsonl'), [{ id: 'a', tokens: [1] }]);
  const args = ['generate', '--model', modelFolder('tied'), '--prompts', 'in.jsonl', '--out', 'no/out.jsonl'];
  expectRefusal(args, /mkdir -p no/);
});

test('an unknown YAML key names the nearest one', () => {
  writeFileSync(path('train.yaml'), 'model: m\ndata: d.jsonl\noutput: o\nlearningrate: 1e-3\n');
  expectRefusal(['train', 'train.yaml'], /^error: train\.yaml: .*'learningrate'.*did you mean 'learningRate'/);
  writeFileSync(path('study.yaml'), 'run: r\nteachers: {}\n');
  expectRefusal(['run', 'study.yaml'], /^error: study\.yaml: .*'teachers'.*did you mean 'teacher'/);
  writeFileSync(path('broken.yaml'), 'model: m\n  data: [\n');
  expectRefusal(['train', 'broken.yaml'], /^error: broken\.yaml:1: Expected valid YAML: .*mappings/);
  expectRefusal(['run', 'absent.yaml'], /^error: absent\.yaml: .*check the path/);
});

test('a template that drops the reasoning', () => {
  writeRows(path('in.jsonl'), [
    {
      id: 'a',
      messages: [
        { role: 'user', content: 'How many?' },
        { role: 'assistant', content: '42', reasoning_content: '6 times 7' },
      ],
    },
  ]);
  const message = /in\.jsonl:1: .*drops it.*<think>/;
  expectRefusal(['inspect', '--model', modelFolder('chat'), '--data', 'in.jsonl'], message);
  writeFileSync(path('train.yaml'), `model: ${modelFolder('chat')}\ndata: in.jsonl\noutput: o\n`);
  expectRefusal(['train', 'train.yaml'], message);
});
