import {
  appendFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import type { TensorData } from '../../src/tensor/dtype.js';
import { Tensor } from '../../src/tensor/tensor.js';
import { symbolsOfBytes } from '../../src/text/byte_level.js';
import { type ModelFiles, resolveModel } from '../../src/weights/model_files.js';
import { GOLDEN_MODELS, type GoldenModel, modelFolder } from '../support/fixtures.js';
import { readSafetensors } from '../support/safetensors.js';
import { chatMl } from '../text/templates.js';
import { device } from './device.js';
import { f32, type GgufTensor, ggufFile, type MetadataValue, temporaryFile, temporaryFolder } from './files.js';

/** Opens, looks, closes. */
async function withModel<R>(path: string, look: (files: ModelFiles) => R | Promise<R>): Promise<R> {
  const files = await resolveModel(path);
  try {
    return await look(files);
  } finally {
    files.weights.close();
  }
}

async function load(files: ModelFiles, name: string): Promise<TensorData> {
  const { shape, dtype } = files.weights.entries().get(name)!;
  const asStored = { U8: 'u8', F8_E4M3: 'fp8' } as const;
  using tensor = Tensor.empty(device, shape, asStored[dtype as 'U8'] ?? 'f32');
  files.weights.load(name, tensor);
  return tensor.read();
}

function copyOf(name: GoldenModel): string {
  const folder = join(temporaryFolder(), name);
  cpSync(modelFolder(name), folder, { recursive: true });
  return folder;
}

const writeJson = (path: string, value: unknown): void => writeFileSync(path, JSON.stringify(value));
const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
const fingerprint = (path: string): Promise<string> => withModel(path, (files) => files.fingerprint);

describe('a folder', () => {
  test.each(GOLDEN_MODELS)('%s: every weight is that of its files', async (name) => {
    const folder = modelFolder(name);
    await withModel(folder, async (files) => {
      expect(files).toMatchObject({ path: folder, name, format: 'safetensors' });
      expect(files.config).toEqual(readJson(join(folder, 'config.json')));
      expect(files.fingerprint).toMatch(/^[0-9a-f]{64}$/);
      const shards =
        name === 'sharded' ? [1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`) : ['model.safetensors'];
      const expected = new Map(shards.flatMap((shard) => [...readSafetensors(join(folder, shard))]));
      expect([...files.weights.entries().keys()].sort()).toEqual([...expected.keys()].sort());
      for (const [tensor, { shape, data }] of expected) {
        expect(files.weights.entries().get(tensor)!.shape).toEqual(shape);
        expect(await load(files, tensor), tensor).toEqual(data);
      }
    });
  });

  test('brings tokenizer, template and settings, or none', async () => {
    await withModel(modelFolder('chat'), (files) => {
      expect(files.tokenizer!.eosTokenIds).toEqual([2, 0]);
      expect(files.generationConfig.eos_token_id).toEqual([2, 0]);
      expect(files.chatTemplate!.render([{ role: 'user', content: 'a' }])).toBe('<|im_start|>user\na<|im_end|>\n');
    });
    await withModel(modelFolder('tied'), ({ tokenizer, chatTemplate }) => {
      expect([tokenizer, chatTemplate]).toEqual([null, null]);
    });
  });

  test('finds the template wherever it may stand', async () => {
    const folder = copyOf('chat');
    const config = readJson(join(folder, 'tokenizer_config.json'));
    const sourceWith = async (more: object): Promise<string | undefined> => {
      writeJson(join(folder, 'tokenizer_config.json'), { ...config, ...more });
      return withModel(folder, (files) => files.chatTemplate?.source);
    };
    writeFileSync(join(folder, 'chat_template.jinja'), 'file');
    expect(await sourceWith({ chat_template: 'in config' })).toBe('file');
    rmSync(join(folder, 'chat_template.jinja'));
    expect(await sourceWith({ chat_template: 'in config' })).toBe('in config');
    const named = ['tool_use', 'default'].map((name) => ({ name, template: `the ${name} one` }));
    expect(await sourceWith({ chat_template: named })).toBe('the default one');
    expect(await sourceWith({})).toBeUndefined();
    writeJson(join(folder, 'chat_template.json'), { chat_template: 'in json' });
    expect(await sourceWith({})).toBe('in json');
  });

  test('the fingerprint follows contents, not places', async () => {
    const original = await fingerprint(modelFolder('chat'));
    const folder = copyOf('chat');
    expect(await fingerprint(folder)).toBe(original);
    const seen = new Set([original]);
    const weights = join(folder, 'model.safetensors');
    const bytes = readFileSync(weights);
    bytes[bytes.length - 1]! ^= 1;
    writeFileSync(weights, bytes);
    seen.add(await fingerprint(folder));
    writeFileSync(join(folder, 'chat_template.jinja'), '{{ 1 }}');
    seen.add(await fingerprint(folder));
    appendFileSync(join(folder, 'config.json'), '\n');
    seen.add(await fingerprint(folder));
    expect(seen.size).toBe(4);
  });

  test('writes its tokenizer files for a model that is made from it', async () => {
    const target = copyOf('tied');
    await withModel(modelFolder('chat'), (files) => files.writeTokenizer(target));
    await withModel(target, (files) => {
      expect(files.tokenizer!.encode('The answer is 42.')).toEqual([280, 311, 271, 223, 22, 20, 16]);
      expect(files.chatTemplate).not.toBeNull();
    });
  });
});

describe('a folder that is wrong', () => {
  const refusal = (path: string): Promise<string> =>
    resolveModel(path).then(
      () => 'opened',
      (error: Error) => {
        expect(error.name).toBe('UserError');
        expect(error.message).not.toContain('\n');
        return error.message;
      },
    );

  test('says what is missing', async () => {
    const folder = copyOf('tied');
    renameSync(join(folder, 'model.safetensors'), join(folder, 'pytorch_model.bin'));
    expect(await refusal(folder)).toMatch(
      /holds no model.safetensors and no .*index.json; save the model as safetensors/,
    );
    rmSync(join(folder, 'pytorch_model.bin'));
    expect(await refusal(folder)).toMatch(/download may be incomplete, fetch the model again/);
    rmSync(join(folder, 'config.json'));
    expect(await refusal(folder)).toMatch(/holds no config.json; name a folder with/);
    writeFileSync(join(folder, 'm.gguf'), '');
    expect(await refusal(folder)).toContain(`name the file ${join(folder, 'm.gguf')}`);
    writeJson(join(folder, 'adapter_config.json'), {});
    expect(await refusal(folder)).toMatch(/holds an adapter, not a model/);
  });

  test('says which file is truncated or malformed', async () => {
    const folder = copyOf('chat');
    const weights = join(folder, 'model.safetensors');
    truncateSync(weights, 50_000);
    expect(await refusal(folder)).toMatch(
      /model\.safetensors: is truncated: tensor '.+' lies beyond the end of the file; download/,
    );
    for (const file of ['config.json', 'tokenizer_config.json', 'tokenizer.json', 'generation_config.json']) {
      const saved = readFileSync(join(folder, file));
      writeFileSync(join(folder, file), '{"a": ');
      expect(await refusal(folder)).toMatch(new RegExp(`${file}: Expected JSON \\(.+\\); fetch the model again`));
      writeFileSync(join(folder, file), '[]');
      expect(await refusal(folder)).toMatch(new RegExp(`${file}: Expected a JSON object`));
      writeFileSync(join(folder, file), saved);
    }
    cpSync(join(modelFolder('chat'), 'model.safetensors'), weights);
    writeFileSync(join(folder, 'chat_template.jinja'), '{% if %}');
    expect(await refusal(folder)).toMatch(/the chat template cannot be parsed/);
  });

  test('an index cannot lead out of the folder, and must be right', async () => {
    const folder = copyOf('sharded');
    const indexPath = join(folder, 'model.safetensors.index.json');
    const index = readJson(indexPath);
    const [first] = Object.keys(index.weight_map) as [string];
    const refusalWith = (file: unknown, tensor = first): Promise<string> => {
      writeJson(indexPath, { weight_map: { ...index.weight_map, [tensor]: file } });
      return refusal(folder);
    };
    cpSync(join(modelFolder('tied'), 'model.safetensors'), join(folder, '..', 'outside.safetensors'));
    for (const outside of ['../outside.safetensors', '/etc/passwd', 'a/../../outside.safetensors', '', '.', 7])
      expect(await refusalWith(outside)).toMatch(/to lie in the folder but received .+; do not use this model/);
    expect(await refusalWith('model-00009-of-00003.safetensors')).toMatch(
      /00009-of-00003\.safetensors: cannot be opened/,
    );
    expect(await refusalWith('model-00001-of-00003.safetensors', 'no.such.weight')).toMatch(
      /00001-of-00003\.safetensors: tensor 'no.such.weight' is missing, which the index places here/,
    );
    writeJson(indexPath, { weight_map: 3 });
    expect(await refusal(folder)).toMatch(/'weight_map' to be an object/);
    mkdirSync(join(folder, 'parts'));
    renameSync(join(folder, 'model-00001-of-00003.safetensors'), join(folder, 'parts', 'one.safetensors'));
    const moved = Object.entries<string>(index.weight_map).map(([tensor, file]) => [
      tensor,
      file.includes('00001') ? 'parts/one.safetensors' : file,
    ]);
    writeJson(indexPath, { weight_map: Object.fromEntries(moved) });
    expect(await refusal(folder)).toBe('opened');
  });

  test('a name that is nothing', async () => {
    expect(await refusal('smollm2-135m-instuct')).toMatch(
      /one of smollm2-135m-instruct but there is no 'smollm2-135m-instuct' \(did you mean 'smollm2-135m-instruct'\?\)/,
    );
    vi.stubEnv('COMPRESS_DISTILL_CACHE', temporaryFolder());
    expect(await refusal('smollm2-135m-instruct')).toMatch(
      /not on this machine; get it with `compress-distill models fetch/,
    );
    vi.unstubAllEnvs();
    expect(await refusal(join(modelFolder('tied'), 'model.safetensors'))).toMatch(/name the folder it lies in/);
    expect(await refusal(join(modelFolder('tied'), 'config.json'))).toMatch(/config\.json/);
  });

  test('a weight that is not there, or a tensor of another shape, is refused when loaded', async () => {
    await withModel(modelFolder('tied'), (files) => {
      using tensor = Tensor.empty(device, [3]);
      expect(() => files.weights.load('no.such.weight', tensor)).toThrow(/weight 'no.such.weight' is missing/);
      expect(() => files.weights.load('model.norm.weight', tensor)).toThrow(
        /shape \[64\] for weight 'model.norm.weight'/,
      );
    });
  });
});

describe('a GGUF file', () => {
  const [heads, kvHeads, headDim, hidden, layers] = [4, 2, 8, 32, 1];
  const random = (rows: number, columns: number, seed: number): number[][] =>
    Array.from({ length: rows }, (_, r) => Array.from({ length: columns }, (_, c) => Math.sin(seed + r * 7 + c * 13)));
  const permute = (rows: number[][]): number[][] =>
    rows.map((_, row) => {
      const [head, within] = [Math.floor(row / headDim), row % headDim];
      return rows[head * headDim + (within % 2) * (headDim / 2) + Math.floor(within / 2)]!;
    });
  const query = random(heads * headDim, hidden, 1);
  const key = random(kvHeads * headDim, hidden, 2);
  const vector = Array(hidden).fill(1);
  const tensor = (name: string, shape: number[], values: number[]): GgufTensor => ({
    name,
    shape,
    type: 0,
    data: f32(values),
  });
  const tensors: GgufTensor[] = [
    tensor('token_embd.weight', [258, hidden], random(258, hidden, 3).flat()),
    tensor('output_norm.weight', [hidden], vector),
    tensor('rope_freqs.weight', [headDim / 2], Array(headDim / 2).fill(1)),
    tensor('blk.0.attn_q.weight', [heads * headDim, hidden], permute(query).flat()),
    tensor('blk.0.attn_k.weight', [kvHeads * headDim, hidden], permute(key).flat()),
    tensor('blk.0.attn_v.weight', [kvHeads * headDim, hidden], key.flat()),
    tensor('blk.0.attn_norm.weight', [hidden], vector),
  ];
  const tokens = [
    ...Array.from({ length: 256 }, (_, byte) => symbolsOfBytes(Uint8Array.of(byte))),
    '<|im_start|>',
    '<|im_end|>',
  ];
  const metadata: Record<string, MetadataValue> = {
    'general.architecture': 'llama',
    'llama.block_count': layers,
    'llama.context_length': 64,
    'llama.embedding_length': hidden,
    'llama.feed_forward_length': 48,
    'llama.attention.head_count': heads,
    'llama.attention.head_count_kv': kvHeads,
    'llama.attention.layer_norm_rms_epsilon': 1e-5,
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': tokens.map((_, id) => (id < 256 ? 1 : 3)),
    'tokenizer.ggml.merges': ['a b'],
    'tokenizer.ggml.eos_token_id': 257,
    'tokenizer.chat_template': chatMl,
  };

  test('reads like a folder: names, order of rows, config, tokenizer, template', async () => {
    const path = temporaryFile('tiny.Q8_0.gguf', ggufFile({ ...metadata, 'tokenizer.ggml.merges': ['Ġ Ġ'] }, tensors));
    await withModel(path, async (files) => {
      expect(files).toMatchObject({ path, name: 'tiny.Q8_0', format: 'gguf', generationConfig: {} });
      expect(files.config).toMatchObject({
        model_type: 'llama',
        vocab_size: 258,
        rope_scaling: null,
        eos_token_id: 257,
      });
      expect([...files.weights.entries().keys()]).not.toContain('rope_freqs.weight');
      expect(await load(files, 'model.layers.0.self_attn.q_proj.weight')).toEqual(Float32Array.from(query.flat()));
      expect(await load(files, 'model.layers.0.self_attn.k_proj.weight')).toEqual(Float32Array.from(key.flat()));
      expect(await load(files, 'model.layers.0.self_attn.v_proj.weight')).toEqual(Float32Array.from(key.flat()));
      expect(files.tokenizer!.encode('Hé<|im_end|>')).toEqual([72, 0xc3, 0xa9, 257]);
      expect(files.tokenizer!.eosTokenIds).toEqual([257]);
      expect(files.chatTemplate!.render([{ role: 'user', content: 'a' }])).toBe('<|im_start|>user\na<|im_end|>\n');

      const target = copyOf('tied');
      await files.writeTokenizer(target);
      await withModel(target, (student) => {
        expect(student.tokenizer!.encode('Hé 12<|im_end|>')).toEqual(files.tokenizer!.encode('Hé 12<|im_end|>'));
        expect(student.tokenizer!.eosTokenIds).toContain(257);
        expect(student.chatTemplate!.source).toBe(chatMl);
      });
    });
  });

  test('works without a tokenizer', async () => {
    const bare = Object.fromEntries(Object.entries(metadata).filter(([key]) => !key.startsWith('tokenizer.')));
    await withModel(temporaryFile('m.gguf', ggufFile(bare, tensors)), ({ tokenizer, chatTemplate }) => {
      expect([tokenizer, chatTemplate]).toEqual([null, null]);
    });
  });

  test('is refused in one line with its name', async () => {
    const refusal = async (contents: Uint8Array): Promise<string> => {
      const path = temporaryFile('m.gguf', contents);
      return withModel(path, () => 'opened').catch((error: Error) => error.message.replaceAll(path, 'FILE'));
    };
    expect(await refusal(ggufFile({ ...metadata, 'general.architecture': 'mamba' }, tensors))).toMatch(
      /^FILE: Expected the architecture of a GGUF file to be one of llama but received 'mamba'/,
    );
    expect(
      await refusal(ggufFile(metadata, [...tensors, tensor('blk.0.attn_q_norm.weight', [8], vector.slice(0, 8))])),
    ).toMatch(/^FILE: tensor 'blk.0.attn_q_norm.weight' is none of a Llama model's/);
    expect(await refusal(ggufFile({ ...metadata, 'tokenizer.ggml.pre': 'tekken' }, tensors))).toMatch(
      /'tokenizer.ggml.pre'.*'tekken'/,
    );
    expect(await refusal(ggufFile(metadata, tensors).subarray(0, 20_000))).toMatch(/^FILE: is truncated/);
    expect(await refusal(Buffer.from('{}'.repeat(100)))).toMatch(/^FILE: is not a weight file/);
  });
});
