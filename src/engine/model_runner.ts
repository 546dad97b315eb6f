import type { CausalLM } from '../nn/model.js';
import type { KvPlan } from './kv_plan.js';
import type { Batch, SchedulerConfig } from './scheduler.js';
import { type PromptRows, StepDescriber, type StepDescription } from './step_description.js';
import { StepExecutor } from './step_executor.js';
import type { StepOutput, StepRunner } from './step_runner.js';

const NO_TOKENS = new Int32Array(0);

/** Computes batches with a model that it borrows. */
export class ModelRunner implements StepRunner {
  private readonly model: CausalLM;
  protected readonly describer: StepDescriber;
  private readonly executor: StepExecutor;

  /** @param captureSizes batch sizes at which decode steps are recorded, in rising order. */
  constructor(
    model: CausalLM,
    config: SchedulerConfig,
    plan: KvPlan,
    eosTokenIds: readonly number[],
    captureSizes: readonly number[] = [],
  ) {
    this.model = model;
    this.describer = new StepDescriber(config, plan.blockSize, model.config.vocabSize, eosTokenIds);
    this.executor = new StepExecutor(model, { plan, maxNumSeqs: config.maxNumSeqs, captureSizes });
  }

  forward(batch: Batch): Promise<StepOutput> {
    const { step, prompts } = this.describer.describe(batch);
    return this.run(step, prompts);
  }

  dispose(): void | Promise<void> {
    this.executor.dispose();
  }

  protected async run(step: StepDescription, prompts: readonly PromptRows[]): Promise<StepOutput> {
    const reads = this.executor.execute(step);
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
}

function storePromptLogprobs(prompts: readonly PromptRows[], logprobs: Float32Array): void {
  let at = 0;
  for (const { request, position, count } of prompts) {
    request.promptLogprobs!.set(logprobs.subarray(at, at + count), position);
    at += count;
  }
}
