// Runs a chosen set of operations and a tiny engine on the instruction set that COMPRESS_DISTILL_ISA names, and prints what came of it
// as JSON. Started by instruction_sets.test.ts: a process has one instruction set.
import { Engine } from '../../src/engine/engine.js';
import { loadModel } from '../../src/nn/load.js';
import { Device } from '../../src/tensor/device.js';
import { goldenOutputs, modelFolder } from '../support/fixtures.js';
import { cases as adamw } from './cases/adamw.js';
import { cases as attention } from './cases/attention.js';
import { cases as attentionBackward } from './cases/attention_backward.js';
import { cases as exp } from './cases/exp.js';
import { cases as linearCrossEntropy } from './cases/linear_cross_entropy.js';
import { cases as matmul } from './cases/matmul.js';
import { cases as pagedAttention } from './cases/paged_attention.js';
import { cases as rmsNorm } from './cases/rms_norm.js';
import { cases as rmsNormBackward } from './cases/rms_norm_backward.js';
import { cases as rotary } from './cases/rotary.js';
import { cases as sample } from './cases/sample.js';
import { cases as siluMul } from './cases/silu_mul.js';
import { cases as sum } from './cases/sum.js';
import { cases as tokenLogprobs } from './cases/token_logprobs.js';
import { elements } from './harness/data.js';
import { runCase } from './harness/run_case.js';

export interface InstructionSetReport {
  readonly instructionSet: string;
  readonly cases: number;
  /** In words; empty when all is well. */
  readonly wrong: readonly string[];
  /** What greedy decoding of transformers' documents gave in f32. */
  readonly greedy: readonly (readonly number[])[];
  /** Completions with log-probabilities, one sequence at a time and all at once, by dtype. */
  readonly alone: Readonly<Record<string, string>>;
  readonly together: Readonly<Record<string, string>>;
}

const chosen = [
  adamw,
  attention,
  attentionBackward,
  exp,
  linearCrossEntropy,
  matmul,
  pagedAttention,
  rmsNorm,
  rmsNormBackward,
  rotary,
  sample,
  siluMul,
  sum,
  tokenLogprobs,
];

const device = Device.open('cpu', { threads: 2 });
const wrong: string[] = [];
let count = 0;
for (const cases of chosen)
  for (const one of cases.cases) {
    // Large ones take their time in the reference.
    if (Object.values(one.tensors).some(({ shape }) => elements(shape) > 100_000)) continue;
    const result = await runCase(device, cases, one, { float: Number.NaN, integer: 77 });
    wrong.push(...result.wrong.map((difference) => `${cases.op}, ${one.name}: ${difference}`));
    count += 1;
  }

const greedy: number[][] = [];
const alone: Record<string, string> = {};
const together: Record<string, string> = {};
for (const [dtype, name] of [
  ['f32', 'tied'],
  ['bf16', 'bf16'],
] as const) {
  const loaded = await loadModel(modelFolder(name), { device, dtype });
  const { documents } = goldenOutputs(name);
  const complete = async (maxNumSeqs: number) => {
    const engine = Engine.create(loaded, { maxNumSeqs, enablePrefixCaching: false });
    const sampling = { temperature: 0, maxTokens: 20, ignoreEos: true, logprobs: 0 };
    const completions = await engine.generateAll(documents, sampling);
    await engine.close();
    return completions;
  };
  alone[dtype] = JSON.stringify(await complete(1));
  const completions = await complete(documents.length);
  together[dtype] = JSON.stringify(completions);
  if (dtype === 'f32') greedy.push(...completions.map(({ tokens }) => tokens));
  loaded.model.dispose();
}
const { instructionSet, liveTensors } = device.statistics();
if (liveTensors !== 0) wrong.push(`${liveTensors} tensors are left`);
await device.close();
console.log(
  JSON.stringify({ instructionSet, cases: count, wrong, greedy, alone, together } satisfies InstructionSetReport),
);
