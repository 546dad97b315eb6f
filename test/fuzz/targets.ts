/** What is fuzzed: files that come from elsewhere, each read as the commands read it. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { readPrompts } from '../../src/cli/prompts.js';
import { readQuestions } from '../../src/data/questions.js';
import { readYaml } from '../../src/data/yaml_file.js';
import { loadModel } from '../../src/nn/load.js';
import { parseStudyConfig } from '../../src/pipeline/config.js';
import { RowFile } from '../../src/pipeline/row_file.js';
import type { Device } from '../../src/tensor/device.js';
import { createChatTemplate } from '../../src/text/chat_template.js';
import { loadAdapter } from '../../src/training/adapter_files.js';
import { parseTrainConfig } from '../../src/training/config.js';
import { loadDataset } from '../../src/training/dataset.js';
import { resolveModel } from '../../src/weights/model_files.js';
import { readSafetensors } from '../support/safetensors.js';
import { f32, ggufFile, type MetadataValue } from '../weights/writers.js';
import { mutateBytes, mutateJson, mutateJsonText, nestText, type Random } from './mutate.js';

export interface Target {
  name: string;
  /** Writes a damaged file into `folder` and reads it. */
  attempt(folder: string, random: Random, device: Device): Promise<void>;
}

const fixtures = 'test/fixtures';
const model = (name: string) => join(fixtures, 'models', name);

/** A model's folder whose file `name` is replaced; weights are read, text is encoded, a conversation is rendered. */
function modelTarget(
  name: string,
  source: string,
  file: string,
  mutate: (original: string, random: Random) => Buffer,
): Target {
  return {
    name,
    async attempt(folder, random, device) {
      const copy = join(folder, `${name}-model`);
      cpSync(model(source), copy, { recursive: true });
      const original = join(model(source), file);
      writeFileSync(join(copy, file), mutate(original, random));
      await useModel(copy, device);
    },
  };
}

async function useModel(path: string, device: Device): Promise<void> {
  const loaded = await loadModel(path, { device });
  try {
    loaded.tokenizer?.encode('Hello, world 123 ünï\n\n  <|im_start|>', { addSpecialTokens: true });
    loaded.tokenizer?.decode([1, 2, 3, 40, 5]);
    loaded.chatTemplate?.render([{ role: 'user', content: 'Hello' }], { addGenerationPrompt: true });
    for (const weight of loaded.model.weights.values()) await weight.read();
  } finally {
    loaded.model.dispose();
  }
}

const text = (file: string) => readFileSync(file, 'utf8');
const bytesOf = (file: string, random: Random) => mutateBytes(readFileSync(file), random);
/** Of large files most damage would hit numbers, which are all right whatever they are: the header, two times in three. */
const headerOf = (file: string, random: Random) => {
  const bytes = readFileSync(file);
  if (random(3) === 0) return mutateBytes(bytes, random);
  const header = Math.min(bytes.length, 8 + Number(bytes.readBigUInt64LE()));
  return Buffer.concat([mutateBytes(bytes.subarray(0, header), random), bytes.subarray(header)]);
};

/** The tiny chat model as a GGUF file. */
function ggufModel(): { metadata: Record<string, MetadataValue>; tensors: Parameters<typeof ggufFile>[1] } {
  const { model: tokenizer } = JSON.parse(text(join(model('chat'), 'tokenizer.json'))) as {
    model: { vocab: Record<string, number>; merges: string[][] };
  };
  const tokens = Object.entries(tokenizer.vocab)
    .sort(([, a], [, b]) => a - b)
    .map(([token]) => token);
  const names: [RegExp, string][] = [
    [/^model\.embed_tokens/, 'token_embd'],
    [/^model\.norm/, 'output_norm'],
    [/^model\.layers\.(\d+)\.self_attn\.(q|k|v)_proj/, 'blk.$1.attn_$2'],
    [/^model\.layers\.(\d+)\.self_attn\.o_proj/, 'blk.$1.attn_output'],
    [/^model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj/, 'blk.$1.ffn_$2'],
    [/^model\.layers\.(\d+)\.input_layernorm/, 'blk.$1.attn_norm'],
    [/^model\.layers\.(\d+)\.post_attention_layernorm/, 'blk.$1.ffn_norm'],
  ];
  const tensors = [...readSafetensors(join(model('chat'), 'model.safetensors'))].map(([name, { shape, data }]) => {
    const found = names.find(([pattern]) => pattern.test(name));
    return {
      name: found === undefined ? name : name.replace(...found),
      shape: [...shape],
      type: 0,
      data: f32(data as Float32Array),
    };
  });
  const metadata = {
    'general.architecture': 'llama',
    'llama.block_count': 2,
    'llama.context_length': 128,
    'llama.embedding_length': 32,
    'llama.feed_forward_length': 40,
    'llama.attention.head_count': 4,
    'llama.attention.head_count_kv': 2,
    'llama.attention.key_length': 8,
    'llama.attention.value_length': 8,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, index) => (index < 3 ? 3 : 1)),
    'tokenizer.ggml.merges': tokenizer.merges.map((pair) => (Array.isArray(pair) ? pair.join(' ') : pair)),
    'tokenizer.chat_template': text(join(model('chat'), 'chat_template.jinja')),
  };
  return { metadata, tensors };
}

let gguf: { file: Buffer; header: number } | null = null;

const ggufTarget: Target = {
  name: 'gguf',
  async attempt(folder, random, device) {
    if (gguf === null) {
      const { metadata, tensors } = ggufModel();
      const header = ggufFile(
        metadata,
        tensors.map((tensor) => ({ ...tensor, data: Buffer.alloc(0) })),
      ).length;
      gguf = { file: ggufFile(metadata, tensors), header };
    }
    const { file, header } = gguf;
    const path = join(folder, 'model.gguf');
    // The beginning and the descriptions of tensors are where sizes stand; between them are tokens.
    const begin = random(2) === 0 ? 0 : Math.max(0, header - 1600);
    const end = begin === 0 ? 900 : header;
    const damaged = mutateBytes(file.subarray(begin, end), random);
    writeFileSync(path, Buffer.concat([file.subarray(0, begin), damaged, file.subarray(end)]));
    await useModel(path, device);
  },
};

/** Rows of JSON, damaged one by one or as text. */
function mutateRows(rows: readonly unknown[], random: Random): Buffer {
  const lines = rows.map((row) => JSON.stringify(random(2) === 0 ? row : mutateJson(row, random)) ?? 'null');
  const whole = Buffer.from(`${lines.join('\n')}\n`);
  if (random(20) === 0) return nestText(whole.toString('utf8'), random);
  return random(3) === 0 ? mutateBytes(whole, random) : whole;
}

const questions = [
  { id: 'a', question: 'What is 1 + 1?', answer: 2, answerType: 'number', dataset: 'sums' },
  { id: 'b', question: 'Which?', answer: 'B', answerType: 'letter' },
  { id: 'c', question: 'Is it?', answer: true, answerType: 'boolean' },
];
const conversations = [
  {
    id: 'a',
    messages: [
      { role: 'user', content: 'Hello' },
      { role: 'assistant', content: 'Hi there' },
    ],
  },
  {
    id: 'b',
    messages: [
      { role: 'system', content: 'x' },
      { role: 'user', content: 'y' },
      { role: 'assistant', content: 'z', reasoning_content: 'r' },
    ],
  },
];
const prompts = [
  { id: 'a', prompt: 'Once' },
  { id: 'b', messages: [{ role: 'user', content: 'Hello' }] },
  { id: 'c', tokens: [1, 2, 3], sampling: { temperature: 0, maxTokens: 4 } },
];
const runRows = [
  { key: '0123456789abcdef', id: 'a', ok: true, reasoning: 'x' },
  { key: 'fedcba9876543210', id: 'b', ok: false },
];

async function drain(rows: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of rows);
}

const jsonl: Target = {
  name: 'jsonl',
  async attempt(folder, random) {
    const path = join(folder, 'rows.jsonl');
    const write = (rows: readonly unknown[]) => writeFileSync(path, mutateRows(rows, random));
    const kind = random(4);
    if (kind === 0) {
      write(questions);
      await readQuestions(path);
    } else if (kind === 1) {
      write(prompts);
      await drain(readPrompts(path));
    } else if (kind === 2) {
      write(runRows);
      const file = new RowFile(path);
      for (const key of file.keys()) file.read(key);
      file.finalise([...file.keys()]);
      file.close();
    } else {
      write(conversations);
      const files = await resolveModel(model('chat'));
      files.weights.close();
      const options = {
        model: files,
        maxTokens: 128,
        overlong: 'drop',
        threads: 1,
        folder: join(folder, 'tokenised'),
      } as const;
      await loadDataset([path], options);
    }
  },
};

const yaml: Target = {
  name: 'yaml',
  async attempt(folder, random) {
    const path = join(folder, 'study.yaml');
    const original = text(random(2) === 0 ? 'examples/reference.yaml' : 'examples/quickstart.yaml');
    const structural = random(2) === 0;
    const damaged = structural
      ? JSON.stringify(mutateJson(parse(original), random))
      : mutateBytes(Buffer.from(original), random);
    writeFileSync(path, random(20) === 0 ? nestText(original, random) : damaged);
    const { value } = await readYaml(path);
    if (value !== null && typeof value === 'object' && 'students' in value) parseStudyConfig(value, path);
    else parseTrainConfig(value, path);
  },
};

const pieces = [
  '{{',
  '}}',
  '{%',
  '%}',
  'for m in messages',
  'endfor',
  'if',
  'endif',
  'messages',
  '[0]',
  '.content',
  '| trim',
  '~',
  'range(999999999)',
  'set x = ',
  'namespace()',
  '* 9999999',
  "'a'",
  'macro f(x)',
  'f(f)',
  'is defined',
  '{#',
];

const template: Target = {
  name: 'template',
  async attempt(_folder, random) {
    let source = text(join(model('chat'), 'chat_template.jinja'));
    for (let count = 1 + random(4); count > 0; count--) {
      const at = random(source.length);
      source = source.slice(0, at) + pieces[random(pieces.length)] + source.slice(at + random(12));
    }
    createChatTemplate(source).render([{ role: 'user', content: 'Hello' }], { addGenerationPrompt: true });
  },
};

const adapter: Target = {
  name: 'adapter',
  async attempt(folder, random, device) {
    const copy = join(folder, 'adapter');
    mkdirSync(copy, { recursive: true });
    cpSync(join(fixtures, 'adapters', 'tied'), copy, { recursive: true });
    const [config, weights] = ['adapter_config.json', 'adapter_model.safetensors'].map((name) => join(copy, name));
    if (random(2) === 0) writeFileSync(config!, mutateJsonText(text(config!), random));
    else writeFileSync(weights!, headerOf(weights!, random));
    const loaded = await loadModel(model('tied'), { device });
    try {
      await loadAdapter(copy, loaded.model);
    } finally {
      loaded.model.dispose();
    }
  },
};

export const targets: readonly Target[] = [
  modelTarget('safetensors', 'tied', 'model.safetensors', headerOf),
  ggufTarget,
  modelTarget('tokenizer', 'chat', 'tokenizer.json', (file, random) => mutateJsonText(text(file), random)),
  modelTarget('tokenizer_config', 'chat', 'tokenizer_config.json', (file, random) =>
    mutateJsonText(text(file), random),
  ),
  modelTarget('config', 'chat', 'config.json', (file, random) => mutateJsonText(text(file), random)),
  modelTarget('index', 'sharded', 'model.safetensors.index.json', (file, random) => mutateJsonText(text(file), random)),
  modelTarget('template_file', 'chat', 'chat_template.jinja', bytesOf),
  template,
  adapter,
  jsonl,
  yaml,
];
