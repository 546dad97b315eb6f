export type Verdict = 'passed' | 'failed' | 'skipped';

export interface Row {
  readonly what: string;
  readonly verdict: Verdict;
  readonly detail: string;
  readonly seconds: number | null;
}

export interface Found {
  readonly item: string;
  readonly failed?: string;
  readonly skipped?: string;
  readonly detail?: string;
  readonly seconds?: number;
  readonly figures?: [table: string, figures: object];
}

export interface ListWork {
  readonly seconds: number;
  readonly patience: number;
  start(left: readonly string[]): { command: string; args: readonly string[]; env?: Record<string, string> };
  parse(line: string): Found | null;
}

export class Stage {
  constructor(seconds: number, report: { row(row: Row): void; measured(table: string, figures: object): void });
  readonly secondsLeft: number;
  list(title: string, items: readonly string[], work: ListWork): Promise<void>;
}
