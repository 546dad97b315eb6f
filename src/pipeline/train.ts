/** Stage 3: one student trained on one arm. Its folder holds the rows it saw, the weights, metrics.jsonl and result.json. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import type { TrainingRow } from './arms.js';
import type { StudentConfig } from './config.js';
import { modelFingerprint, requireMayRun, type StudyContext } from './context.js';
import { fingerprint } from './identity.js';
import { throwIfInterrupted } from './interrupted.js';
import { writeFileAtomically } from './row_file.js';
import type { TrainedStudent } from './services.js';

export interface TrainingResult extends TrainedStudent {
  /** Identity of the trained weights: rows, settings, base model. */
  key: string;
  student: string;
  arm: string;
  rows: number;
  /** Tokens of one epoch that are trained, the paper's "training tokens". */
  tokensPerEpoch: number;
  epochs: number;
}

/** The folder with the weights, as `train` wrote them. */
export function weightsFolder(context: StudyContext, student: string, arm: string): string {
  return context.folder.file('students', student, arm, 'weights');
}

function readJson<T>(path: string): T | null {
  if (!existsSync(path)) return null;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as T;
  } catch {
    return null; // Cannot be trusted, so it is made again.
  }
}

export async function runTrain(
  context: StudyContext,
  student: StudentConfig,
  arm: string,
  rows: readonly TrainingRow[],
): Promise<TrainingResult> {
  const base = await modelFingerprint(context, student.model);
  // How and where it runs changes nothing that the weights depend on; everything else does.
  const {
    data: _,
    output: __,
    tokenisedFolder: _______,
    threads: ___,
    device: ____,
    checkpointEvery: _____,
    keepLast: ______,
    ...settings
  } = student.training;
  const key = fingerprint({ stage: 'train', base, settings: { ...settings, model: undefined }, rows });
  const folder = context.folder.file('students', student.name, arm);
  const output = weightsFolder(context, student.name, arm);
  const resultFile = `${folder}/result.json`;
  const done = readJson<TrainingResult>(resultFile);
  if (done?.key === key) return done;
  requireMayRun(context, 'train', 1, 1);
  throwIfInterrupted(context.signal, `stage 'train'`);

  // A half-trained student of the same identity goes on from its checkpoint; one of another is in the way.
  const startedFile = `${folder}/started.json`;
  rmSync(resultFile, { force: true });
  if (readJson<{ key: string }>(startedFile)?.key !== key) rmSync(folder, { recursive: true, force: true });
  const data = `${folder}/data.jsonl`;
  writeFileAtomically(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  writeFileAtomically(startedFile, `${JSON.stringify({ key })}\n`);

  const label = `train ${student.name} ${arm}`;
  const last = rows.at(0)!.messages.at(-1)!.content;
  context.progress.prompt(label, `${rows[0]!.messages.at(-2)!.content}\n→ ${last.replaceAll('\n', '\n  ')}`);
  const begin = performance.now();
  let meter: ReturnType<StudyContext['progress']['start']> | null = null;
  let tokens = 0;
  const record = (state: 'running' | 'done') =>
    context.folder.record(label, state, {
      kept: rows.length,
      failed: 0,
      seconds: (performance.now() - begin) / 1000,
      tokens,
    });
  let trained: TrainedStudent;
  try {
    trained = await context.services.train(
      { tokenisedFolder: context.folder.file('tokenised'), ...student.training, data: [data], output, resume: true },
      {
        signal: context.signal,
        onStep: (metrics, totalSteps) => {
          meter ??= context.progress.start(label, totalSteps ?? metrics.step, metrics.step - 1, 'steps');
          tokens += metrics.tokens;
          meter.advance(1, metrics.tokens);
        },
      },
    );
  } catch (error) {
    record('running');
    throwIfInterrupted(context.signal, `stage '${label}'`);
    throw error;
  } finally {
    (meter as { finish(): void } | null)?.finish();
  }
  throwIfInterrupted(context.signal, `stage '${label}'`);
  const epochs = student.training.epochs;
  const result: TrainingResult = {
    key,
    student: student.name,
    arm,
    rows: rows.length,
    ...trained,
    tokensPerEpoch: Math.round(trained.trainedTokens / epochs),
    epochs,
  };
  writeFileAtomically(resultFile, `${JSON.stringify(result, null, 2)}\n`);
  record('done');
  return result;
}
