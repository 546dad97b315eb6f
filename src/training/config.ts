// The settings of a training run: `compress-distill train FILE.yaml`. Defaults follow the paper's training stack (section 4
// and appendix H); where its text gives no value, the default is ours and says so.

import { z } from 'zod';
import { readYaml } from '../data/yaml_file.js';
import { meshSchema } from '../distributed/mesh_shape.js';
import { defaultDtype } from '../tensor/dtype.js';
import { dataFormatSchema } from './data_format.js';
import { parseStrict } from './strict_schema.js';

const positiveInteger = z.number().int().min(1);
const probability = z.number().min(0).lt(1);

/** The linear layers that the paper adapts: all of attention and of the MLP. */
export const paperTargetModules = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const;

const loraSchema = z.strictObject({
  /** r: the inner dimension of the adapter. Paper: 64. */
  rank: positiveInteger.default(64),
  /** α: the adapter's output is scaled by α / r. Default: the rank, so a scale of 1 (ours: the paper's value is not given). */
  alpha: z.number().positive().optional(),
  /** Probability of dropping an input of the adapter, a mask of its own for every module. Paper: 0.05. */
  dropout: probability.default(0.05),
  /** Names of the linear layers to adapt: the last part of the module's name, or several parts (`mlp.up_proj`). Paper: all seven. */
  targetModules: z
    .array(z.string().min(1))
    .min(1)
    .default([...paperTargetModules]),
  /**
   * Modules to train whole and save with the adapter, by name as in `targetModules`: `embed_tokens`, `lm_head`, norms. Tied embeddings and
   * head are one. Default: none; embeddings and head with `addedTokens`.
   */
  modulesToSave: z.array(z.string().min(1)).optional(),
  /** Rank-stabilised LoRA: scale by α / √r instead. Default: false. */
  rsLora: z.boolean().default(false),
});

/** The settings of a run, as read from YAML (camelCase keys; an unknown key is an error). */
export const trainSchema = z
  .strictObject({
    /** The base model: a directory, a GGUF file or a fetched name such as `smollm2-135m-instruct`. Required. */
    model: z.string().min(1),
    /** JSON Lines of conversations, `{"id", "messages": [{"role", "content", "reasoning_content"?}]}`: a path or several. Required. */
    data: z
      .union([z.string().min(1), z.array(z.string().min(1)).min(1)])
      .transform((paths) => (Array.isArray(paths) ? paths : [paths])),
    /** How rows name things, where not as above. */
    dataFormat: dataFormatSchema.prefault({}),
    /** The folder to write: weights, metrics.jsonl, checkpoints. Required. */
    output: z.string().min(1),

    /** Tokens of a pack. Paper: 16384. A conversation longer than this, or than the model's context, is over-long. */
    sequenceLength: positiveInteger.default(16_384),
    /** The share of the rows that never train, chosen by seed and id; their cross-entropy goes to metrics.jsonl. 0: none. Paper: 0.05. */
    validationSplit: probability.default(0.05),
    /** Compute the loss on them every so many steps; before the first and after the last step it always is. Default: 0, only then. */
    validateEvery: z.number().int().min(0).default(0),
    /** What to do with an over-long conversation: `drop` it (default), `truncate` its end, or stop with an `error`. Always counted and reported. */
    overlong: z.enum(['drop', 'truncate', 'error']).default('drop'),
    /** In place of the model's chat template: a file of Jinja, or Jinja itself. Saved with the weights. Default: the model's. */
    chatTemplate: z.string().min(1).optional(),
    /**
     * Texts that become one token each, a string or `{ content, special }`; special ones are left out where text is decoded for
     * reading. Saved with the weights. Default: none.
     */
    addedTokens: z
      .array(
        z
          .union([
            z.string().min(1),
            z.strictObject({ content: z.string().min(1), special: z.boolean().default(false) }),
          ])
          .transform((token) => (typeof token === 'string' ? { content: token, special: false } : token)),
      )
      .default([]),
    /** Where tokenised data is kept for the next run on it. Default: `tokenised` in the user's cache. */
    tokenisedFolder: z.string().min(1).optional(),

    /** `lora` (default) trains adapters on a frozen model, `full` every weight. */
    method: z.enum(['lora', 'full']).default('lora'),
    lora: loraSchema.prefault({}),
    /** A folder in PEFT's layout to go on training from: its rank, alpha and modules then hold, not those of `lora`. Default: a new adapter. */
    adapter: z.string().min(1).optional(),

    /**
     * The loss: `cross-entropy` (default), `weighted` (rows have `weight` or `weights`), `length-weighted`, `forward-kl` or
     * `reverse-kl` (distillation; rows have `teacher`), or a file such as `./mine.ts`. README: "Try your own objective".
     */
    objective: z.string().min(1).default('cross-entropy'),
    /** What the objective takes as `options`; `length-weighted` has `exponent`. Default: none. */
    objectiveOptions: z.record(z.string(), z.unknown()).default({}),

    /** Peak learning rate. Default: 2e-4 for `lora`, 2e-5 for `full` (ours: the paper's values are not given). */
    learningRate: z.number().positive().optional(),
    /** `cosine` (paper) or `constant`, after a linear warm-up from 0. */
    schedule: z.enum(['cosine', 'constant']).default('cosine'),
    /** The fraction of all steps that warm up. Paper: 0.1. */
    warmupRatio: z.number().min(0).max(1).default(0.1),
    /** Passes over the data. Paper: 1. */
    epochs: positiveInteger.default(1),
    /** Stop after this many optimizer steps; the schedule then spans these. Default: what `epochs` gives. */
    maxSteps: positiveInteger.optional(),
    /** Packs that go through the model together. Paper: 1. */
    microBatch: positiveInteger.default(1),
    /** Micro-batches of one optimizer step, over all ranks together: adding ranks changes the speed and nothing else. Paper: 8 on each GPU. */
    gradientAccumulation: positiveInteger.default(8),

    /** `adamw_8bit` (paper: 8-bit block-wise state) or `adamw` (32-bit state). */
    optimizer: z.enum(['adamw', 'adamw_8bit']).default('adamw_8bit'),
    /**
     * With `method: full` in bf16: no f32 master weights (4 bytes a weight); each update is rounded to bf16 at random, by the seed, so
     * that on average small ones are not lost. Default: false.
     */
    stochasticRounding: z.boolean().default(false),
    /** β1, β2 of AdamW. Default: 0.9, 0.999 (transformers). */
    betas: z.tuple([probability, probability]).default([0.9, 0.999]),
    /** ε of AdamW. Default: 1e-8 (transformers). */
    eps: z.number().positive().default(1e-8),
    /** Decoupled weight decay, of every parameter. Default: 0 (transformers). */
    weightDecay: z.number().min(0).default(0),
    /** Gradients are scaled down to this norm; 0 turns clipping off. Default: 1.0 (transformers). */
    maxGradNorm: z.number().min(0).default(1),
    /**
     * A step whose loss or gradients are not finite: `stop` (default; the state before it is kept as a checkpoint), or `skip` its update
     * and go on. Ten skipped in a row stop the run.
     */
    nonFinite: z.enum(['stop', 'skip']).default('stop'),
    /**
     * What the backward pass computes again instead of finding it in memory: each `layer` from its input (paper), `selective` (norms and
     * gated activations, which cost little, from the products, which are kept), or `none`. The results are the same bits.
     */
    activationCheckpointing: z.enum(['none', 'selective', 'layer']).default('layer'),

    /** Decides the order of the data, the adapters' start and dropout. Default: 0. */
    seed: z.number().int().min(0).default(0),
    /** `cpu` (default), `cpu-chaos` or `cuda:0`. */
    device: z.string().min(1).default('cpu'),
    /** Of weights and activations; adapters, master weights, gradients and optimizer state are f32. Default: f32 on the CPU, bf16 on CUDA. */
    dtype: z.enum(['f32', 'bf16']).optional(),
    /** CPU threads of the process. Default: all cores. */
    threads: positiveInteger.optional(),
    /**
     * Devices that train together, those from `device` on: `dp` share the micro-batches of a step, each with a copy of the model (or a part
     * of one, see `fullyShard`); `tp` hold each copy together (tensor parallelism). The result is the same but for rounding. Default: one
     * device.
     */
    mesh: meshSchema.prefault({}),
    /**
     * Each of the `dp` devices keeps a part of every weight, master, gradient and moment (ZeRO stage 3, FSDP); a layer's weights are gathered
     * while it is at work. Frozen weights and adapters too. Default: false, each keeps all.
     */
    fullyShard: z.boolean().default(false),

    /** Save a checkpoint every so many steps. Default: 0, only when stopped early. */
    checkpointEvery: z.number().int().min(0).default(0),
    /** Checkpoints to keep, the latest. Default: 1. */
    keepLast: positiveInteger.default(1),
    /** Continue from the latest checkpoint in `output` if there is one. Default: true. */
    resume: z.boolean().default(true),
  })
  .transform((settings, context) => {
    const saved = settings.addedTokens.length > 0 ? ['embed_tokens', 'lm_head'] : [];
    const { rank, alpha = rank, modulesToSave = saved } = settings.lora;
    const lora = { ...settings.lora, alpha, modulesToSave };
    const dtype = settings.dtype ?? defaultDtype(settings.device);
    const learningRate = settings.learningRate ?? (settings.method === 'lora' ? 2e-4 : 2e-5);
    if (settings.method === 'lora' && saved.some((module) => !modulesToSave.includes(module))) {
      context.addIssue({
        code: 'custom',
        path: ['lora', 'modulesToSave'],
        input: modulesToSave,
        message: "embed_tokens and lm_head at least, with 'addedTokens', whose embeddings are new,",
      });
    }
    if (settings.adapter !== undefined && settings.method === 'full') {
      context.addIssue({
        code: 'custom',
        path: ['adapter'],
        input: settings.adapter,
        message: "nothing with 'method: full' (merge it into the model first)",
      });
    }
    if (settings.stochasticRounding && (settings.method === 'lora' || dtype === 'f32')) {
      context.addIssue({
        code: 'custom',
        path: ['stochasticRounding'],
        input: true,
        message: "false without 'method: full' and 'dtype: bf16' (f32 weights and adapters lose no update)",
      });
    }
    if (settings.fullyShard && settings.mesh.dp === 1) {
      context.addIssue({
        code: 'custom',
        path: ['fullyShard'],
        input: true,
        message: "false on one device ('mesh: { dp: 4 }' gives it four to keep parts of the model on)",
      });
    }
    if (settings.mesh.dp > settings.gradientAccumulation) {
      context.addIssue({
        code: 'custom',
        path: ['mesh', 'dp'],
        input: settings.mesh.dp,
        message: `at most 'gradientAccumulation', ${settings.gradientAccumulation}, the micro-batches that the ranks share,`,
      });
    }
    return { ...settings, lora, dtype, learningRate };
  });

/** Settings with every default filled in. */
export type TrainConfig = z.output<typeof trainSchema>;
/** Settings as a user writes them. */
export type TrainSettings = z.input<typeof trainSchema>;

/**
 * Checks settings and fills in the defaults.
 * @param where what an error message starts with, the file's name
 * @throws {UserError} one line naming the key
 */
export function parseTrainConfig(settings: unknown, where = 'training settings'): TrainConfig {
  return parseStrict(trainSchema, settings, where);
}

/** Reads the settings of a YAML file. Paths in it are relative to the working directory. */
export async function loadTrainConfig(file: string): Promise<TrainConfig> {
  return parseTrainConfig((await readYaml(file)).value, file);
}
