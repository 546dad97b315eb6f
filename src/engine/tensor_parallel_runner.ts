import type { CausalLM } from '../nn/model.js';
import type { Followers } from './followers.js';
import type { KvPlan } from './kv_plan.js';
import { ModelRunner } from './model_runner.js';
import type { Batch, SchedulerConfig } from './scheduler.js';
import type { StepOutput } from './step_runner.js';

/** Computes batches with a model that several ranks hold: this one leads, the others compute the same steps on their parts. */
export class TensorParallelRunner extends ModelRunner {
  private readonly followers: Followers;

  /** @param plan of the KV cache of each rank. @param captureSizes batch sizes at which all of them record decode steps. */
  constructor(
    model: CausalLM,
    followers: Followers,
    config: SchedulerConfig,
    plan: KvPlan,
    eosTokenIds: readonly number[],
    captureSizes: readonly number[],
  ) {
    super(model, config, plan, eosTokenIds, captureSizes);
    this.followers = followers;
    const { dtype, blocks, blockSize, maxModelLen } = plan;
    followers.prepare({ plan: { dtype, blocks, blockSize, maxModelLen }, maxNumSeqs: config.maxNumSeqs, captureSizes });
  }

  override forward(batch: Batch): Promise<StepOutput> {
    const { step, prompts } = this.describer.describe(batch);
    this.followers.step(step);
    return this.followers.unlessFailed(this.run(step, prompts));
  }

  override async dispose(): Promise<void> {
    super.dispose();
    await this.followers.release();
  }
}
