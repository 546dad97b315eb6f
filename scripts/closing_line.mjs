// A vitest reporter: says why each skipped test was skipped, fails in CI on a skip that test/expected_skips.txt does not
// list, and closes with the plain line `N passed, N failed, N skipped`.
import { existsSync, readFileSync } from 'node:fs';

const listPath = 'test/expected_skips.txt';

function expectedSkips() {
  if (!existsSync(listPath)) return new Set();
  const lines = readFileSync(listPath, 'utf8').split('\n');
  return new Set(lines.map((line) => line.trim()).filter((line) => line && !line.startsWith('#')));
}

export default class ClosingLine {
  onTestRunEnd(modules, unhandledErrors) {
    const count = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    const unexpected = [];
    const expected = expectedSkips();
    for (const module of modules) {
      if (module.state() === 'failed' && [...module.children.allTests('failed')].length === 0) count.failed += 1; // could not be loaded
      for (const test of module.children.allTests()) {
        const { state, note } = test.result();
        if (state in count) count[state] += 1;
        if (state !== 'skipped') continue;
        const name = `${module.relativeModuleId} > ${test.fullName}`;
        console.log(`skipped: ${name}${note ? `: ${note}` : ''}`);
        if (!expected.has(name)) unexpected.push(name);
      }
    }
    if (process.env.CI && unexpected.length > 0) {
      console.error(`error: ${unexpected.length} tests were skipped that ${listPath} does not list`);
      process.exitCode = 1;
    }
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  }
}
