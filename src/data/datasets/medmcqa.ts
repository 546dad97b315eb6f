/**
 * MedMCQA. Its column `cop` counts from 0 in the files on the Hub and from 1 in the original release, and nothing in
 * a file says which. So: a 0 or a 4 anywhere decides; else the explanations do, many of which name the letter.
 */
import { z } from 'zod';
import { UserError } from '../../errors.js';
import { defineAdapter, integer, multipleChoice } from './adapter.js';

const shape = {
  id: z.string(),
  question: z.string(),
  opa: z.string(),
  opb: z.string(),
  opc: z.string(),
  opd: z.string(),
  cop: integer,
};
const evidence = z.object({ cop: integer, exp: z.string().nullish() });

/** `Ans. is 'c'`, `Answer: (B)`, `Ans - a`. */
const namedLetter = /\bans(?:wer)?\b[\s.:,-]*(?:is\b)?[\s.:-]*['"‘“(]?([a-d])\b/i;

/** @returns 0 or 1: what `cop` counts from */
export function baseOfCop(rows: readonly unknown[]): 0 | 1 {
  let votes = 0;
  let [zero, four] = [false, false];
  for (const row of rows) {
    const { success, data } = evidence.safeParse(row);
    if (!success) continue; // said with its row number when it is read
    if (data.cop === 0) zero = true;
    if (data.cop === 4) four = true;
    const named = namedLetter.exec(data.exp ?? '')?.[1]?.toLowerCase();
    if (named === undefined) continue;
    const place = named.charCodeAt(0) - 97;
    if (data.cop === place) votes--;
    else if (data.cop === place + 1) votes++;
  }
  if (zero && four) throw new UserError("Expected 'cop' to count from 0 or from 1 but received both a 0 and a 4");
  if (zero || (!four && votes < 0)) return 0;
  if (four || votes > 0) return 1;
  throw new UserError(
    "Expected rows that show whether 'cop' counts from 0 or from 1 (a 0, a 4, or an 'exp' that names the letter); use more of the file",
  );
}

export const medmcqa = defineAdapter(
  { hub: 'openlifescienceai/medmcqa', splits: { train: 'train', eval: 'validation' } },
  shape,
  (rows) => {
    const base = baseOfCop(rows);
    return (row) => ({
      id: row.id,
      ...multipleChoice(row.question, [row.opa, row.opb, row.opc, row.opd], row.cop - base),
    });
  },
);
