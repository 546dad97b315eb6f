import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import {
  type AxolotlLine,
  describeAxolotl,
  expectHonoured,
  isAxolotl,
  readAxolotl,
} from '../../src/training/axolotl.js';
import { parseTrainConfig } from '../../src/training/config.js';

/** A student of the paper, as its appendix describes the runs. */
const student = `
base_model: ./Qwen3.5-0.8B-Base
trust_remote_code: true
strict: false
plugins:
  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin
  - axolotl.integrations.liger.LigerPlugin
liger_rope: true
liger_rms_norm: true
liger_rms_norm_gated: true
liger_glu_activation: true
chat_template: tokenizer_default
eot_tokens:
  - <|im_end|>
datasets:
  - path: data/traces.jsonl
    type: chat_template
    field_messages: messages
    message_property_mappings: { role: role, content: content }
    roles_to_train: [assistant]
    train_on_eot: turn
    split_thinking: true
dataset_prepared_path: last_run_prepared
val_set_size: 0.05
output_dir: ./outputs/qwen-0.8b-lora
sequence_len: 16384
sample_packing: true
pad_to_sequence_len: true
adapter: lora
lora_r: 64
lora_alpha: 128
lora_dropout: 0.05
lora_target_modules: [q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj]
gradient_accumulation_steps: 8
micro_batch_size: 1
num_epochs: 1
optimizer: adamw_bnb_8bit
lr_scheduler: cosine
learning_rate: 2e-4
warmup_ratio: 0.1
bf16: true
tf32: true
gradient_checkpointing: true
flash_attention: true
logging_steps: 1
evals_per_epoch: 2
saves_per_epoch: 1
save_total_limit: 2
wandb_project:
special_tokens:
  pad_token: <|endoftext|>
`;

const minimal = { base_model: 'm', datasets: [{ path: 'a.jsonl', type: 'chat_template' }], sample_packing: true };
const read = (file: Record<string, unknown>) => readAxolotl({ ...minimal, ...file }, 'a.yaml');
const lineOf = (lines: readonly AxolotlLine[], key: string) => lines.find((line) => line.key === key);

describe('readAxolotl', () => {
  it('reads a student of the paper, key for key', () => {
    const file = parse(student) as Record<string, unknown>;
    expect(isAxolotl(file)).toBe(true);
    const reading = readAxolotl(file, 'student.yaml');
    expectHonoured(reading, 'student.yaml');
    expect(parseTrainConfig(reading.settings)).toEqual(
      parseTrainConfig({
        model: './Qwen3.5-0.8B-Base',
        data: 'data/traces.jsonl',
        dataFormat: { roles: { human: 'user', gpt: 'assistant' }, splitThinking: true },
        output: './outputs/qwen-0.8b-lora',
        tokenisedFolder: 'last_run_prepared',
        validationSplit: 0.05,
        sequenceLength: 16384,
        method: 'lora',
        lora: { rank: 64, alpha: 128, dropout: 0.05 },
        gradientAccumulation: 8,
        microBatch: 1,
        epochs: 1,
        optimizer: 'adamw_8bit',
        schedule: 'cosine',
        learningRate: 2e-4,
        warmupRatio: 0.1,
        dtype: 'bf16',
        activationCheckpointing: 'layer',
        keepLast: 2,
      }),
    );
    const keys = reading.lines.map(({ key }) => key.split(/[.[]/)[0]);
    for (const key of Object.keys(file)) expect(keys).toContain(key);
    for (const { text } of reading.lines) expect(text).not.toBe('');
    const text = describeAxolotl(reading).split('\n');
    expect(text).toHaveLength(reading.lines.length);
    expect(text.find((line) => line.includes('lora_r '))).toMatch(/^ {2}lora_r +→ lora\.rank: 64$/);
    expect(text.find((line) => line.includes('plugins[1]'))).toMatch(/ignored: norms, rotary/);
  });

  it('has the defaults of Axolotl where the file is silent, and says so', () => {
    const { sample_packing: _, ...silent } = minimal;
    const { settings, lines } = readAxolotl({ ...silent, learning_rate: '1e-5' }, 'a.yaml');
    expect(parseTrainConfig(settings)).toMatchObject({
      ...{ method: 'full', sequenceLength: 512, validationSplit: 0, warmupRatio: 0.03, optimizer: 'adamw' },
      ...{ gradientAccumulation: 1, microBatch: 1, learningRate: 1e-5, activationCheckpointing: 'none' },
    });
    expect(lineOf(lines, 'sequence_len')).toEqual({
      key: 'sequence_len',
      kind: 'default',
      text: 'sequenceLength: 512',
    });
    expect(lineOf(lines, 'sample_packing')).toMatchObject({
      kind: 'default',
      text: expect.stringMatching(/off there/),
    });
  });

  it('gathers several datasets and tokens', () => {
    const { settings } = read({
      datasets: [
        { path: 'a.jsonl', type: 'chat_template', field_messages: 'conversations', roles: { user: ['human'] } },
        {
          path: 'json',
          data_files: ['b.jsonl', 'c.jsonl'],
          field_messages: 'conversations',
          roles: { user: ['human'] },
        },
      ],
      tokens: ['<step>'],
      special_tokens: { additional_special_tokens: ['<|pause|>'] },
    });
    expect(parseTrainConfig({ ...settings, output: 'o' })).toMatchObject({
      data: ['a.jsonl', 'b.jsonl', 'c.jsonl'],
      dataFormat: { messages: 'conversations', roles: { human: 'user' } },
      addedTokens: [
        { content: '<step>', special: false },
        { content: '<|pause|>', special: true },
      ],
    });
  });

  it.each([
    [{ rl: 'dpo' }, 'rl', /preference/],
    [{ adapter: 'qlora' }, 'adapter', /'qlora'; there is lora/],
    [{ load_in_4bit: true }, 'load_in_4bit', /quantised/],
    [{ sample_packing: false }, 'sample_packing', /always packed/],
    [{ lr_scheduler: 'linear' }, 'lr_scheduler', /"linear"; there is cosine, constant_with_warmup/],
    [{ optimizer: 'muon' }, 'optimizer', /there is adamw_bnb_8bit/],
    [{ num_epochs: 1.5 }, 'num_epochs', /whole epochs/],
    [{ val_set_size: 500 }, 'val_set_size', /share/],
    [{ chat_template: 'llama3' }, 'chat_template', /jinja/],
    [{ adapter: 'lora' }, 'lora_target_modules', /layers to adapt/],
    [{ plugins: ['axolotl.integrations.kd.KDPlugin'] }, 'plugins[0]', /KDPlugin/],
    [{ datasets: [{ path: 'a', type: 'alpaca' }] }, 'datasets[0].type', /only chat_template/],
    [{ datasets: [{ path: 'a', train_on_eot: 'all' }] }, 'datasets[0].train_on_eot', /no other's/],
    [{ datasets: [{ path: 'a', roles_to_train: ['user'] }] }, 'datasets[0].roles_to_train', /only the assistant/],
    [{ datasets: [{ path: 'a', feild_messages: 'x' }] }, 'datasets[0].feild_messages', /known here/],
  ])('refuses %j', (file, key, reason) => {
    const reading = read(file);
    expect(reading.lines.filter(({ kind }) => kind === 'refused')).toMatchObject([{ key }]);
    expect(lineOf(reading.lines, key)!.text).toMatch(reason);
    expect(() => expectHonoured(reading, 'a.yaml')).toThrow(
      new RegExp(`^a\\.yaml: '${key.replace(/[[\].]/g, '\\$&')}' cannot be honoured: `),
    );
  });

  it('takes what is off for off', () => {
    const off = { rl: null, load_in_8bit: false, load_in_4bit: false, peft_use_dora: false, neftune_noise_alpha: null };
    const { lines } = read(off);
    for (const key of Object.keys(off)) expect(lineOf(lines, key)!.kind).toBe('ignored');
  });

  it('lists all keys that it does not know, each with the nearest one that it does', () => {
    const reading = read({ lora_rank: 8, learning_rate: '1e-5', warmup_ratoi: 0.1, frobnicate: true });
    const text = (key: string) => lineOf(reading.lines, key)!.text;
    expect(text('lora_rank')).toMatch(
      /^no key that is known here \(did you mean 'lora_r'\?\); correct it, or remove it/,
    );
    expect(text('warmup_ratoi')).toMatch(/did you mean 'warmup_ratio'/);
    expect(text('frobnicate')).toMatch(
      /^no key that is known here; correct it, or remove it if the run does not need it$/,
    );
    expect(lineOf(reading.lines, 'learning_rate')!.kind).toBe('mapped');
    expect(() => expectHonoured(reading, 'a.yaml')).toThrow(
      /^a\.yaml: 'lora_rank' cannot be honoured: .* \(nor can 'warmup_ratoi', 'frobnicate'\)$/,
    );
  });

  it('refuses keys that contradict each other', () => {
    expect(() => read({ bf16: true, bfloat16: false })).toThrow(/'bfloat16' to agree .* received f32 for 'dtype'/);
    const datasets = [
      { path: 'a', split_thinking: true },
      { path: 'b', split_thinking: false },
    ];
    expect(() => read({ datasets })).toThrow(/'datasets\[1\]\.split_thinking' to agree/);
  });

  it('is not for other files', () => {
    expect(isAxolotl({ model: 'm', data: 'd' })).toBe(false);
    expect(isAxolotl(null)).toBe(false);
  });
});
