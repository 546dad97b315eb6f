/**
 * Our verification of LaTeX answers beside the published test cases of Math-Verify: how many of its outcomes ours
 * agrees with, and every case where it does not. The cases are fetched (Python with pip, a network) and not kept.
 *
 *   npx tsc -p . && node scripts/compare_math_verify.mjs [CASES.jsonl]
 *
 * Exits 1 when ours takes an answer that is wrong there.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { answersEqual } from '../dist/src/data/answers.js';
import { extractAnswer } from '../dist/src/data/extract.js';

const python = process.env.PYTHON ?? 'python3';
const script = new URL('compare_math_verify.py', import.meta.url).pathname;
const fetched = () => execFileSync(python, [script], { encoding: 'utf8', maxBuffer: 1 << 28 });
const lines = (process.argv[2] ? readFileSync(process.argv[2], 'utf8') : fetched()).trim().split('\n');

const shorten = (text) => {
  const line = text.replaceAll('\n', '⏎');
  return line.length > 140 ? `…${line.slice(-139)}` : line;
};

const tally = { agreed: 0, 'false accept': 0, 'false reject': 0 };
for (const line of lines) {
  const { file, test, gold, pred, expected } = JSON.parse(line);
  const [right, given] = [extractAnswer('latex', gold), extractAnswer('latex', pred)];
  const ours = right !== null && given !== null && answersEqual('latex', right.answer, given.answer);
  if (ours === expected) {
    tally.agreed++;
    continue;
  }
  const kind = ours ? 'false accept' : 'false reject';
  tally[kind]++;
  console.log(`${kind} (${file} ${test})`);
  console.log(`  gold  ${shorten(gold)}\n        → ${right?.answer ?? 'nothing'} (${right?.tier ?? '-'})`);
  console.log(`  given ${shorten(pred)}\n        → ${given?.answer ?? 'nothing'} (${given?.tier ?? '-'})`);
}
const share = ((100 * tally.agreed) / lines.length).toFixed(1);
console.log(
  `${tally.agreed} of ${lines.length} cases agree (${share} %): ${tally['false accept']} false accepts, ${tally['false reject']} false rejects`,
);
process.exitCode = tally['false accept'] > 0 ? 1 : 0;
