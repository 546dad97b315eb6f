import type { PagedContext } from '../nn/context.js';
import type { CausalLM } from '../nn/model.js';
import { logits, tokenLogprobs } from '../ops/cross_entropy.js';
import { embedding } from '../ops/embedding.js';
import { launch } from '../tensor/launch.js';
import { scope, withoutScope } from '../tensor/scope.js';
import { withoutTape } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import type { BlockCopy } from './block_manager.js';
import type { KvPlan } from './kv_plan.js';
import { RecordedDecode } from './recorded_decode.js';
import type { SamplingInputs } from './sampling_inputs.js';
import type { StepDescription } from './step_description.js';
import type { StepInputs } from './step_inputs.js';

/** Reads that are under way; null for what nobody wants. */
export interface Reads {
  readonly tokens: Promise<Int32Array> | null;
  readonly logprobs: Promise<Float32Array> | null;
  readonly topTokens: Promise<Int32Array> | null;
  readonly topLogprobs: Promise<Float32Array> | null;
  readonly promptLogprobs: Promise<Float32Array> | null;
  readonly recorded: boolean;
}

const NO_READS = { tokens: null, logprobs: null, topTokens: null, topLogprobs: null };

export interface ExecutorOptions {
  readonly plan: Pick<KvPlan, 'dtype' | 'blocks' | 'blockSize' | 'maxModelLen'>;
  /** Most rows that are sampled in one step. */
  readonly maxNumSeqs: number;
  /** Batch sizes at which decode steps are recorded, in rising order. Default: none. */
  readonly captureSizes?: readonly number[];
}

/**
 * Computes described steps with a model, of which it may have one rank's part: it owns the KV cache and borrows the model. T tokens, R
 * sampled rows, E hidden size, V vocabulary, L reported alternatives.
 */
export class StepExecutor {
  private readonly model: CausalLM;
  /** Keys and values of every layer, and {@link sampled}. */
  private readonly memory: Tensor[] = [];
  private readonly cache: PagedContext['cache'];
  /** i32 [maxNumSeqs]: the tokens that the last step has sampled, where the next one finds them. */
  private sampled!: Tensor;
  private decode: RecordedDecode | null = null;

  constructor(model: CausalLM, { plan, maxNumSeqs, captureSizes = [] }: ExecutorOptions) {
    this.model = model;
    this.cache = { blockSize: plan.blockSize, blocks: plan.blocks, layers: [] };
    const { numLayers, headDim } = model.config;
    const shape = [plan.blocks, plan.blockSize, model.kvHeads, headDim];
    try {
      withoutScope(() => {
        for (let i = 0; i < 2 * numLayers; i++) this.memory.push(Tensor.empty(model.device, shape, plan.dtype));
        this.sampled = Tensor.zeros(model.device, [maxNumSeqs], 'i32');
        this.memory.push(this.sampled);
        const maxBlocks = Math.ceil(plan.maxModelLen / plan.blockSize);
        if (captureSizes.length > 0)
          this.decode = new RecordedDecode(model, this.cache, this.sampled, captureSizes, maxBlocks);
      });
    } catch (error) {
      this.dispose();
      throw error;
    }
    for (let i = 0; i < numLayers; i++) {
      this.cache.layers.push({ key: this.memory[2 * i]!, value: this.memory[2 * i + 1]! });
    }
  }

  /** Enqueues a step. Every read must be heard: a failed step rejects all of them. */
  execute(step: StepDescription): Reads {
    return withoutTape(() => scope(() => this.enqueue(step)));
  }

  dispose(): void {
    this.decode?.dispose();
    this.decode = null;
    for (const tensor of this.memory) tensor.dispose();
    this.memory.length = 0;
    this.cache.layers.length = 0;
  }

  private enqueue({ inputs, decodes, copies, scored, sampling }: StepDescription): Reads {
    this.copyBlocks(copies);
    const replayed = decodes ? (this.decode?.forward(inputs) ?? null) : null;
    const hidden_TE = replayed ?? this.model.forward(this.context(inputs));
    const recorded = replayed !== null;
    const promptLogprobs = scored && this.score(hidden_TE, scored);
    if (sampling === null) return { ...NO_READS, promptLogprobs, recorded };
    const hidden_RE = decodes ? hidden_TE : embedding(hidden_TE, this.upload(inputs.rows_R));
    const logits_RV = logits(hidden_RE, this.model.outputWeight);
    return { ...this.sample(logits_RV, sampling), promptLogprobs, recorded };
  }

  private context(inputs: StepInputs): PagedContext {
    const sequences = inputs.contextLengths_B.length;
    return {
      kind: 'paged',
      tokens: this.uploadTokens(inputs.tokens_T),
      positions: this.upload(inputs.positions_T),
      cuSeqlens: this.upload(inputs.cuSeqlens),
      contextLengths: this.upload(inputs.contextLengths_B),
      blockTable: this.upload(inputs.blockTable, [sequences, inputs.maxBlocks]),
      slots: this.upload(inputs.slots_T),
      cache: this.cache,
    };
  }

  private sample(logits_RV: Tensor, inputs: SamplingInputs): Omit<Reads, 'promptLogprobs' | 'recorded'> {
    const { device } = this.model;
    const rows = logits_RV.shape[0]!;
    const { bias, allowedMask, topCount } = inputs;
    const history = this.uploadTokens(inputs.history); // refers to the tokens before they are overwritten
    const tokens = this.sampled.narrow(0, 0, rows);
    const logprobs = Tensor.empty(device, [rows], 'f32');
    const topTokens = topCount > 0 ? Tensor.empty(device, [rows, topCount], 'i32') : null;
    const topLogprobs = topCount > 0 ? Tensor.empty(device, [rows, topCount], 'f32') : null;
    launch('sample', [
      logits_RV,
      this.upload(inputs.floats, [rows, 8]),
      this.upload(inputs.ints, [rows, 4]),
      history,
      this.upload(inputs.historyOffsets),
      bias && this.upload(bias.tokens),
      bias && this.upload(bias.values),
      bias && this.upload(bias.offsets),
      allowedMask && this.upload(allowedMask, [rows, allowedMask.length / rows]),
      tokens,
      logprobs,
      topTokens,
      topLogprobs,
    ]);
    return {
      tokens: tokens.read() as Promise<Int32Array>,
      logprobs: inputs.wantsLogprobs ? logprobs.readFloats() : null,
      topTokens: (topTokens?.read() as Promise<Int32Array> | undefined) ?? null,
      topLogprobs: topLogprobs?.readFloats() ?? null,
    };
  }

  private score(hidden_TE: Tensor, { rows, targets }: NonNullable<StepDescription['scored']>): Promise<Float32Array> {
    const hidden_NE = embedding(hidden_TE, this.upload(rows));
    return tokenLogprobs(hidden_NE, this.model.outputWeight, this.upload(targets)).logprobs.readFloats();
  }

  /** Copies whole blocks in every layer: gathered as rows of a table, written back as tokens. */
  private copyBlocks(copies: readonly BlockCopy[]): void {
    if (copies.length === 0) return;
    const { blocks, blockSize } = this.cache;
    const { kvHeads, config } = this.model;
    const from = this.upload(Int32Array.from(copies, (copy) => copy.from));
    const slots = this.upload(
      Int32Array.from({ length: copies.length * blockSize }, (_, i) => {
        return copies[Math.floor(i / blockSize)]!.to * blockSize + (i % blockSize);
      }),
    );
    const gather = (cache: Tensor): Tensor =>
      embedding(cache.reshape([blocks, blockSize * kvHeads * config.headDim]), from).reshape([
        slots.size,
        kvHeads,
        config.headDim,
      ]);
    for (const { key, value } of this.cache.layers) {
      scope(() => launch('kv_write', [gather(key), gather(value), slots, key, value, null, null]));
    }
  }

  /** Token ids of which negative ones stand for tokens of the step before, perhaps not known yet: the device puts them in. */
  private uploadTokens(tokens: Int32Array): Tensor {
    const ids = this.upload(tokens);
    if (tokens.some((token) => token < 0)) launch('take_sampled', [ids, this.sampled, ids]);
    return ids;
  }

  private upload(data: Int32Array | Float32Array, shape: readonly number[] = [data.length]): Tensor {
    return Tensor.from(this.model.device, data, shape);
  }
}
