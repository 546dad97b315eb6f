import type { PagedContext } from '../nn/context.js';
import type { CausalLM } from '../nn/model.js';
import { embedding } from '../ops/embedding.js';
import { linear } from '../ops/matmul.js';
import { launch } from '../tensor/launch.js';
import { scope, withoutScope } from '../tensor/scope.js';
import { withoutTape } from '../tensor/tape.js';
import { Tensor } from '../tensor/tensor.js';
import type { BlockCopy } from './block_manager.js';
import type { KvPlan } from './kv_plan.js';
import { RecordedDecode } from './recorded_decode.js';
import type { Request } from './request.js';
import { type SamplingInputs, SamplingPacker } from './sampling_inputs.js';
import type { Batch, SchedulerConfig } from './scheduler.js';
import { type StepInputs, StepPacker } from './step_inputs.js';
import type { StepOutput, StepRunner } from './step_runner.js';

/** Reads that are under way; null for what nobody wants. */
interface Reads {
  readonly tokens: Promise<Int32Array> | null;
  readonly logprobs: Promise<Float32Array> | null;
  readonly topTokens: Promise<Int32Array> | null;
  readonly topLogprobs: Promise<Float32Array> | null;
  readonly promptLogprobs: Promise<Float32Array> | null;
  readonly recorded: boolean;
}

const NO_READS = { tokens: null, logprobs: null, topTokens: null, topLogprobs: null };
const NO_TOKENS = new Int32Array(0);

/** Rows of the packed batch whose next prompt token is scored: of `request`, positions [position, position + count). */
interface PromptRows {
  readonly request: Request;
  readonly row: number;
  readonly position: number;
  readonly count: number;
}

/**
 * Computes batches with a model: it owns the KV cache and borrows the model. T tokens, R sampled rows, E hidden size, V vocabulary, L
 * reported alternatives.
 */
export class ModelRunner implements StepRunner {
  private readonly model: CausalLM;
  /** Keys and values of every layer. */
  private readonly memory: Tensor[] = [];
  private readonly cache: PagedContext['cache'];
  /** i32 [maxNumSeqs]: the tokens that the last step has sampled, where the next one finds them. */
  private sampled!: Tensor;
  private decode: RecordedDecode | null = null;
  private readonly stepPacker: StepPacker;
  private readonly samplingPacker: SamplingPacker;

  /** @param captureSizes batch sizes at which decode steps are recorded, in rising order. */
  constructor(
    model: CausalLM,
    config: SchedulerConfig,
    plan: KvPlan,
    eosTokenIds: readonly number[],
    captureSizes: readonly number[] = [],
  ) {
    this.model = model;
    this.stepPacker = new StepPacker(config, plan.blockSize);
    this.samplingPacker = new SamplingPacker(config.maxNumSeqs, model.config.vocabSize, eosTokenIds);
    this.cache = { blockSize: plan.blockSize, blocks: plan.blocks, layers: [] };
    const { numLayers, numKvHeads, headDim } = model.config;
    const shape = [plan.blocks, plan.blockSize, numKvHeads, headDim];
    try {
      withoutScope(() => {
        for (let i = 0; i < 2 * numLayers; i++) this.memory.push(Tensor.empty(model.device, shape, model.dtype));
        this.sampled = Tensor.zeros(model.device, [config.maxNumSeqs], 'i32');
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

  async forward(batch: Batch): Promise<StepOutput> {
    const inputs = this.stepPacker.pack(batch);
    const prompts = promptRows(batch);
    const reads = withoutTape(() => scope(() => this.enqueue(batch, inputs, prompts)));
    // All at once: a failed step rejects every read, and none may go unheard.
    const [tokens, logprobs, topTokens, topLogprobs, promptLogprobs] = await Promise.all([
      reads.tokens ?? this.model.device.synchronize().then(() => NO_TOKENS),
      reads.logprobs,
      reads.topTokens,
      reads.topLogprobs,
      reads.promptLogprobs,
    ]);
    if (promptLogprobs !== null) storePromptLogprobs(prompts, promptLogprobs);
    return {
      tokens,
      logprobs,
      topTokens,
      topLogprobs,
      topCount: topTokens === null ? 0 : topTokens.length / tokens.length,
      recorded: reads.recorded,
    };
  }

  dispose(): void {
    this.decode?.dispose();
    this.decode = null;
    for (const tensor of this.memory) tensor.dispose();
    this.memory.length = 0;
    this.cache.layers.length = 0;
  }

  private enqueue(batch: Batch, inputs: StepInputs, prompts: readonly PromptRows[]): Reads {
    this.copyBlocks(batch.copies);
    // In a decode step every row is sampled, in the order of the rows.
    const decodes = batch.sampled.length === batch.tokens && batch.sampled.every(({ row }, r) => row === r);
    const replayed = decodes ? (this.decode?.forward(inputs) ?? null) : null;
    const hidden_TE = replayed ?? this.model.forward(this.context(inputs));
    const recorded = replayed !== null;
    const promptLogprobs = prompts.length > 0 ? this.scorePrompts(hidden_TE, prompts) : null;
    if (batch.sampled.length === 0) return { ...NO_READS, promptLogprobs, recorded };
    const hidden_RE = decodes ? hidden_TE : embedding(hidden_TE, this.upload(inputs.rows_R));
    const logits_RV = linear(hidden_RE, this.model.outputWeight, 'f32');
    return { ...this.sample(logits_RV, this.samplingPacker.pack(batch.sampled)), promptLogprobs, recorded };
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

  private scorePrompts(hidden_TE: Tensor, prompts: readonly PromptRows[]): Promise<Float32Array> {
    const rows: number[] = [];
    const targets: number[] = [];
    for (const { request, row, position, count } of prompts) {
      const { tokens } = request.sequences[0]!;
      for (let i = 0; i < count; i++) {
        rows.push(row + i);
        targets.push(tokens[position + i]!);
      }
    }
    const hidden_NE = embedding(hidden_TE, this.upload(Int32Array.from(rows)));
    const logprobs = Tensor.empty(this.model.device, [rows.length], 'f32');
    const lse = Tensor.empty(this.model.device, [rows.length], 'f32');
    const targets_N = this.upload(Int32Array.from(targets));
    launch('token_logprobs', [hidden_NE, this.model.outputWeight, targets_N, logprobs, lse]);
    return logprobs.readFloats();
  }

  /** Copies whole blocks in every layer: gathered as rows of a table, written back as tokens. */
  private copyBlocks(copies: readonly BlockCopy[]): void {
    if (copies.length === 0) return;
    const { blocks, blockSize } = this.cache;
    const { numKvHeads, headDim } = this.model.config;
    const from = this.upload(Int32Array.from(copies, (copy) => copy.from));
    const slots = this.upload(
      Int32Array.from({ length: copies.length * blockSize }, (_, i) => {
        return copies[Math.floor(i / blockSize)]!.to * blockSize + (i % blockSize);
      }),
    );
    const gather = (cache: Tensor): Tensor =>
      embedding(cache.reshape([blocks, blockSize * numKvHeads * headDim]), from).reshape([
        slots.size,
        numKvHeads,
        headDim,
      ]);
    for (const { key, value } of this.cache.layers) {
      scope(() => launch('kv_write', [gather(key), gather(value), slots, key, value]));
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

/** The prompt's rows in a batch: a row scores the token after it; the first sample does it for all. */
function promptRows(batch: Batch): PromptRows[] {
  const found: PromptRows[] = [];
  let row = 0;
  for (const { sequence, start, count } of batch.chunks) {
    const { request } = sequence;
    if (request.promptLogprobs !== null && sequence.index === 0 && sequence.outputLength === 0) {
      const scored = Math.min(count, request.promptLength - 1 - start);
      if (scored > 0) found.push({ request, row, position: start + 1, count: scored });
    }
    row += count;
  }
  return found;
}

function storePromptLogprobs(prompts: readonly PromptRows[], logprobs: Float32Array): void {
  let at = 0;
  for (const { request, position, count } of prompts) {
    request.promptLogprobs!.set(logprobs.subarray(at, at + count), position);
    at += count;
  }
}
