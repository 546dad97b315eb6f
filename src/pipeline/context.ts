/** What every stage is handed. */
import { UserError } from '../errors.js';
import type { StudyConfig } from './config.js';
import type { Progress } from './progress.js';
import type { Row, RowFile } from './row_file.js';
import type { RunFolder } from './run_folder.js';
import type { Services } from './services.js';

export const stageNames = ['traces', 'compress', 'truncate', 'answer-only', 'train', 'evaluate', 'report'] as const;
export type StageName = (typeof stageNames)[number];

export interface StudyContext {
  config: StudyConfig;
  folder: RunFolder;
  services: Services;
  signal: AbortSignal;
  progress: Progress;
  /** See Services.numerics. */
  numerics: string;
  /** Stages that may do work now; the others only read what they did before. */
  mayRun: ReadonlySet<StageName>;
}

/** @throws {UserError} when a stage that may not run now has something left to do */
export function requireMayRun(context: StudyContext, stage: StageName, missing: number, total: number): void {
  if (missing === 0 || context.mayRun.has(stage)) return;
  throw new UserError(
    `Expected stage '${stage}' to be complete but ${missing} of ${total} rows are to be done; run '${stage}' first, or all stages with 'run'`,
  );
}

/** A model's fingerprint, noted in the manifest. */
export async function modelFingerprint(context: StudyContext, model: string): Promise<string> {
  const known = await context.services.fingerprint(model);
  context.folder.manifest.models[model] = known;
  return known;
}

/** `wrong answer (12), cut off at the token limit (3)`: why rows failed, the most frequent first. */
export function summariseReasons<R extends Row & { reason?: string | undefined }>(
  file: RowFile<R>,
  keys: Iterable<string>,
  limit = 3,
): string {
  const counts = new Map<string, number>();
  for (const key of keys) {
    if (file.isUsable(key)) continue;
    const reason = (file.read(key).reason ?? 'unknown').replace(/^error: .*/s, 'error');
    counts.set(reason, (counts.get(reason) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1]).slice(0, limit);
  return sorted.map(([reason, count]) => `${reason} (${count})`).join(', ');
}
