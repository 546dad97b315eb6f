// What each key of Axolotl's YAML means here. Names and defaults are those of Axolotl 0.19
// (axolotl.utils.schemas, axolotl.core.builders.base).

import { readDatasets } from './axolotl_datasets.js';
import {
  chatTemplate,
  ignored,
  isOff,
  type Outcome,
  offOnly,
  type Rule,
  refuse,
  renamed,
  to,
} from './axolotl_outcomes.js';
import { paperTargetModules } from './config.js';

/** One of the values that mean something here. */
const oneOf =
  (path: string, values: Readonly<Record<string, unknown>>): Rule =>
  (value) =>
    Object.hasOwn(values, String(value))
      ? to(path, values[String(value)])
      : refuse(`${JSON.stringify(value)}; there is ${Object.keys(values).join(', ')}`);

const speed = ignored('decides the speed there, not the result');
const elsewhere = ignored(
  'metrics.jsonl and an event file for TensorBoard are always written; nothing is sent anywhere',
);
const attention = ignored('attention has one implementation here, and never crosses documents');
const loading = ignored('of loading with transformers');
const quantised = offOnly('a quantised base model is not trained here');

const eightBit = 'adamw_8bit';
const plain = 'adamw';
const optimizers = {
  ...{ adamw_bnb_8bit: eightBit, adamw_8bit: eightBit, adamw_torch_8bit: eightBit, ao_adamw_8bit: eightBit },
  ...{ adamw_torch: plain, adamw_torch_fused: plain, adamw_hf: plain },
};

const plugins: Readonly<Record<string, string>> = {
  CutCrossEntropyPlugin: 'cross-entropy is fused with the head and never holds the logits',
  LigerPlugin: 'norms, rotary and gated activations are fused kernels',
};

export const axolotlRules: Readonly<Record<string, Rule>> = {
  base_model: renamed('model'),
  base_model_config: loading,
  tokenizer_config: loading,
  model_type: ignored('config.json says it'),
  tokenizer_type: ignored('tokenizer.json says it'),
  tokenizer_use_fast: loading,
  trust_remote_code: ignored('no code that comes with a model is run'),
  revision_of_model: offOnly('fetch that revision, and name its folder as the model'),
  'is_*': ignored('config.json says it'),
  low_cpu_mem_usage: loading,
  device_map: loading,
  strict: ignored('unknown keys are always errors here'),
  output_dir: renamed('output'),
  'hub_*': ignored('nothing is uploaded'),
  hf_use_auth_token: ignored('nothing is downloaded'),
  save_safetensors: ignored('always'),

  datasets: readDatasets,
  test_datasets: offOnly("rows are held out of the data by 'val_set_size'"),
  shuffle_merged_datasets: ignored('every epoch has an order of its own, decided by the seed'),
  dataset_prepared_path: renamed('tokenisedFolder'),
  dataset_processes: speed,
  dataset_num_proc: speed,
  dataset_keep_in_memory: speed,
  'dataloader_*': speed,
  dataset_exact_deduplication: offOnly('remove doubles from the data beforehand'),
  remove_unused_columns: ignored('objectives see the further keys of a row, nothing else does'),
  val_set_size: (value) =>
    Number(value) < 1 ? to('validationSplit', Number(value)) : refuse('a number of rows; give the share, 0 … 1'),
  chat_template: chatTemplate,
  chat_template_jinja: renamed('chatTemplate'),
  eot_tokens: ignored('a turn ends with what the chat template writes behind a reply; `inspect` shows it'),
  default_system_message: offOnly('put it into the rows'),
  train_on_inputs: offOnly("only the assistant's turns are trained"),
  sequence_len: renamed('sequenceLength'),
  excess_length_strategy: (value) =>
    value === null
      ? to('overlong', 'drop')
      : oneOf('overlong', { drop: 'drop', truncate: 'truncate', raise: 'error' })(value, {}),
  sample_packing: (value) =>
    value ? { ignored: 'always: best-fit packs whose documents do not see each other' } : refuse(notPacked),
  'sample_packing_*': speed,
  eval_sample_packing: ignored('always'),
  pad_to_sequence_len: ignored('nothing is padded'),
  group_by_length: ignored('packing looks at lengths'),
  special_tokens: (value) => ({
    parts: Object.entries((value ?? {}) as Record<string, unknown>).map(([name, token]) => [
      `.${name}`,
      specialToken(name, token),
    ]),
  }),
  tokens: (value) =>
    isOff(value)
      ? { ignored: 'empty' }
      : to(
          'addedTokens',
          (value as string[]).map((content) => ({ content, special: false })),
        ),

  adapter: (value) =>
    isOff(value)
      ? to('method', 'full')
      : value === 'lora'
        ? to('method', 'lora')
        : refuse(`'${value}'; there is lora, or none`),
  lora_model_dir: renamed('adapter'),
  lora_r: renamed('lora.rank'),
  lora_alpha: renamed('lora.alpha'),
  lora_dropout: renamed('lora.dropout'),
  lora_target_linear: (value) =>
    value ? to('lora.targetModules', [...paperTargetModules]) : { ignored: "'lora_target_modules' names them" },
  lora_target_modules: (value) => {
    if (value === null) return { ignored: 'empty' };
    if (value === 'all-linear') return to('lora.targetModules', [...paperTargetModules]);
    return typeof value === 'string' && /[*\\()|]/.test(value)
      ? refuse('a regular expression; list the names')
      : to('lora.targetModules', Array.isArray(value) ? value : [value]);
  },
  lora_modules_to_save: renamed('lora.modulesToSave'),
  peft_use_rslora: renamed('lora.rsLora'),
  peft_use_dora: offOnly('DoRA is not there'),
  lora_fan_in_fan_out: offOnly('no family here stores its weights that way'),
  lora_mlp_kernel: speed,
  lora_qkv_kernel: speed,
  lora_o_kernel: speed,
  loraplus_lr_ratio: offOnly('all adapters learn at one rate'),
  load_in_8bit: quantised,
  load_in_4bit: quantised,
  merge_lora: ignored('`compress-distill merge` merges'),

  learning_rate: (value) => to('learningRate', Number(value)),
  lr_scheduler: oneOf('schedule', { cosine: 'cosine', constant_with_warmup: 'constant' }),
  warmup_ratio: renamed('warmupRatio'),
  warmup_steps: offOnly("a number of steps; give 'warmup_ratio'"),
  num_epochs: (value) =>
    Number.isInteger(Number(value))
      ? to('epochs', Number(value))
      : refuse('whole epochs only; max_steps ends a run within one'),
  max_steps: (value) => (isOff(value) || value === -1 ? { ignored: 'no limit' } : to('maxSteps', value)),
  optimizer: oneOf('optimizer', optimizers),
  weight_decay: renamed('weightDecay', 'of every trained tensor; there not of norms and biases'),
  adam_beta1: (value, { adam_beta2 = 0.999 }) => to('betas', [value, adam_beta2]),
  adam_beta2: (value, { adam_beta1 = 0.9 }) => to('betas', [adam_beta1, value]),
  adam_epsilon: renamed('eps'),
  max_grad_norm: renamed('maxGradNorm'),
  gradient_accumulation_steps: renamed('gradientAccumulation', 'over all ranks together; there on each GPU'),
  micro_batch_size: renamed('microBatch', 'packs'),
  eval_batch_size: speed,
  auto_find_batch_size: offOnly('a run that cannot fit is refused beforehand'),
  gradient_checkpointing: (value) => to('activationCheckpointing', isOff(value) ? 'none' : 'layer'),
  gradient_checkpointing_kwargs: speed,
  neftune_noise_alpha: offOnly('noisy embeddings are not there'),
  early_stopping_patience: offOnly('a run goes to its end'),
  load_best_model_at_end: offOnly('the last state is what is saved'),
  unfrozen_parameters: offOnly('full fine-tuning trains every weight'),
  rl: offOnly('preference and reinforcement learning are not there'),
  bf16: (value) =>
    value === 'auto' || value === null
      ? { ignored: 'the device decides, as here' }
      : to('dtype', value ? 'bf16' : 'f32'),
  bfloat16: (value) => to('dtype', value ? 'bf16' : 'f32'),
  fp16: offOnly('there is bf16 and f32'),
  float16: offOnly('there is bf16 and f32'),
  tf32: ignored('products of f32 are f32; those of bf16 accumulate in f32'),
  seed: renamed('seed'),

  flash_attention: attention,
  'flash_attn_*': attention,
  sdp_attention: attention,
  xformers_attention: attention,
  flex_attention: attention,
  eager_attention: attention,
  attn_implementation: attention,
  plugins: (value) => ({
    parts: ((value ?? []) as string[]).map((plugin, index) => [`[${index}]`, pluginOutcome(plugin)]),
  }),
  cut_cross_entropy: ignored(plugins.CutCrossEntropyPlugin!),
  chunked_cross_entropy: ignored(plugins.CutCrossEntropyPlugin!),
  'liger_*': ignored(plugins.LigerPlugin!),
  'torch_compile*': speed,
  deepspeed: ignored('how the run is spread over devices; here `mesh` and `fullyShard`'),
  fsdp: ignored('how the run is spread over devices; here `mesh` and `fullyShard`'),
  'fsdp_*': ignored('how the run is spread over devices; here `mesh` and `fullyShard`'),
  'ddp*': ignored('how the run is spread over devices; here `mesh` and `fullyShard`'),

  logging_steps: ignored('every step is logged'),
  eval_steps: (value) => {
    if (isOff(value)) return { ignored: 'empty' };
    return Number(value) >= 1 ? to('validateEvery', Number(value)) : refuse('a share of the steps; give their number');
  },
  evals_per_epoch: ignored("validated before the first and after the last step; 'eval_steps' says when else"),
  eval_strategy: ignored("validated before the first and after the last step; 'eval_steps' says when else"),
  save_steps: (value) => (isOff(value) ? { ignored: 'empty' } : to('checkpointEvery', Number(value))),
  saves_per_epoch: ignored(
    "the weights are saved at the end, the state when a run is stopped; 'save_steps' says when else",
  ),
  save_strategy: ignored(
    "the weights are saved at the end, the state when a run is stopped; 'save_steps' says when else",
  ),
  save_total_limit: renamed('keepLast'),
  save_only_model: ignored('a checkpoint holds what an exact resumption needs'),
  resume_from_checkpoint: offOnly("a run goes on from the latest checkpoint in its 'output_dir' by itself"),
  auto_resume_from_checkpoints: renamed('resume'),
  use_tensorboard: elsewhere,
  'wandb_*': elsewhere,
  use_wandb: elsewhere,
  'mlflow_*': elsewhere,
  use_mlflow: elsewhere,
  'comet_*': elsewhere,
  use_comet: elsewhere,
};

const notPacked = 'rows are always packed here, and a step is of micro_batch_size packs in place of rows';

function specialToken(name: string, token: unknown): Outcome {
  if (name === 'pad_token') return { ignored: 'nothing is padded' };
  if (name === 'additional_special_tokens')
    return to(
      'addedTokens',
      (token as string[]).map((content) => ({ content, special: true })),
    );
  return name === 'eos_token'
    ? { ignored: 'a turn ends with what the chat template writes behind a reply; `inspect` shows it' }
    : { ignored: "the tokenizer's own is used" };
}

function pluginOutcome(plugin: string): Outcome {
  const name = String(plugin).split('.').at(-1)!;
  const reason = Object.hasOwn(plugins, name) ? plugins[name] : undefined;
  return reason ? { ignored: reason } : refuse(`no plug-in '${plugin}'`);
}

/** What Axolotl does where a file does not say, and this project's default is another. */
export const axolotlDefaults: Readonly<Record<string, (file: Readonly<Record<string, unknown>>) => Outcome | null>> = {
  output_dir: () => to('output', './model-out'),
  sequence_len: () => to('sequenceLength', 512),
  val_set_size: () => to('validationSplit', 0),
  adapter: () => to('method', 'full'),
  lora_target_modules: ({ adapter, lora_target_linear }) =>
    adapter === 'lora' && !lora_target_linear
      ? refuse("Expected the layers to adapt; set 'lora_target_linear: true' or list them")
      : null,
  lora_dropout: ({ adapter }) => (adapter === 'lora' ? to('lora.dropout', 0) : null),
  warmup_ratio: ({ warmup_steps }) => to('warmupRatio', warmup_steps === 0 ? 0 : 0.03),
  optimizer: () => to('optimizer', 'adamw'),
  gradient_accumulation_steps: () => to('gradientAccumulation', 1),
  gradient_checkpointing: () => to('activationCheckpointing', 'none'),
  sample_packing: () => ({ ignored: `off there; ${notPacked}` }),
};
