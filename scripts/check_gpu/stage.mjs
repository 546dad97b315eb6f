// A stage of the check: runs commands within its time, writes down what each came to as soon as it is known, and sums up.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** Less than this is not worth starting anything in. */
const leastSeconds = 3;

export class Stage {
  #deadline;
  #report;

  /**
   * @param seconds that the stage may take.
   * @param report where rows go.
   */
  constructor(seconds, report) {
    this.#deadline = Date.now() + seconds * 1000;
    this.#report = report;
  }

  get secondsLeft() {
    return Math.max(0, (this.#deadline - Date.now()) / 1000);
  }

  /** @param verdict `passed`, `failed` or `skipped`. @param detail the reason, or what was measured. */
  row(what, verdict, detail = '', seconds = null) {
    const loud = { passed: '   passed', failed: '!! FAILED', skipped: '!! SKIPPED' }[verdict];
    const took = seconds === null ? '' : ` (${seconds.toFixed(1)} s)`;
    console.log(`${loud} ${what}${detail === '' ? '' : `: ${detail}`}${took}`);
    this.#report.row({ what, verdict, detail, seconds });
  }

  skip(what, reason) {
    this.row(what, 'skipped', reason);
  }

  /** A figure of the report's own tables. */
  measured(table, figures) {
    this.#report.measured(table, figures);
  }

  /**
   * One command, one row. What it prints as `SKIPPED: reason` makes the row so.
   * @param seconds that it may take. @param env beside the present one.
   * @returns its standard output when it ended with 0, else null.
   */
  async command(what, command, args, { env = {}, seconds, quiet = false }) {
    const limit = Math.min(seconds, this.secondsLeft);
    if (limit < leastSeconds) return this.skip(what, 'the time of the stage is spent') ?? null;
    const begin = Date.now();
    const lines = [];
    const { reason, last } = await execute(command, args, env, limit, (line) => {
      lines.push(line);
      if (!quiet) console.log(`   ${line}`);
    });
    const took = (Date.now() - begin) / 1000;
    const output = lines.join('\n');
    const skipped = /^SKIPPED: (.*)$/m.exec(output);
    if (reason !== null) this.row(what, 'failed', [reason, last].filter((text) => text).join(': '), took);
    else if (skipped) this.skip(what, skipped[1]);
    else this.row(what, 'passed', '', took);
    return reason === null && !skipped ? output : null;
  }

  /**
   * A command that works through a list and prints what each item came to. One that ends early, or is silent for too long, costs
   * the item that it was at: it is started again with the rest.
   * @param items names, in the order of work.
   * @param seconds that all may take. @param patience seconds that one may take.
   * @param start (items) → { command, args, env } for those that are left.
   * @param parse (line) → { item, failed?: reason, skipped?: reason, seconds?, detail?, figures?: [table, object] }, or null for
   *   other lines, which are shown.
   */
  async list(title, items, { seconds, patience, start, parse }) {
    const deadline = Math.min(this.#deadline, Date.now() + seconds * 1000);
    const left = [...items];
    while (left.length > 0) {
      const limit = (deadline - Date.now()) / 1000;
      if (limit < leastSeconds) break;
      const { command, args, env } = start(left);
      let rows = 0;
      const { reason, last, silent } = await execute(
        command,
        args,
        env,
        limit,
        (line) => {
          const found = parse(line);
          if (found === null || !left.includes(found.item)) return console.log(`   ${line}`);
          // What was passed over has no row of its own: the program had nothing to say of it.
          for (const passed of left.splice(0, left.indexOf(found.item) + 1).slice(0, -1))
            this.skip(`${title}, ${passed}`, 'the program passed it over');
          rows += 1;
          const { failed, skipped, detail = '', seconds: took = null, figures } = found;
          const verdict = failed ? 'failed' : skipped ? 'skipped' : 'passed';
          this.row(`${title}, ${found.item}`, verdict, failed ?? skipped ?? detail, took);
          if (figures) this.measured(...figures);
        },
        patience,
      );
      if (reason === null || Date.now() >= deadline) break;
      // It ended with something else than 0. Between two items that is what the items have said themselves.
      if (left.length > 0 && (silent || rows === 0 || !/^ended with 1$/.test(reason)))
        this.row(`${title}, ${left.shift()}`, 'failed', [reason, last].filter((text) => text).join(': '));
      else if (left.length === 0) break;
    }
    for (const item of left) this.skip(`${title}, ${item}`, `the ${seconds.toFixed(0)} s of this part are spent`);
  }
}

/**
 * @param patience seconds of silence after which it is ended.
 * @returns why it did not end with 0, or null; the last line of its error output; whether it was silent for too long.
 */
function execute(command, args, env, seconds, onLine, patience = Infinity) {
  return new Promise((resolve) => {
    // A group of its own, so that what it has started ends with it.
    const child = spawn(command, args, {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    });
    let last = '';
    let ended = null;
    const kill = (why) => {
      ended ??= why;
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {} // gone already
    };
    const late = setTimeout(() => kill(`no end in ${seconds.toFixed(0)} s`), seconds * 1000);
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      if (patience !== Infinity)
        silence = setTimeout(() => kill(`nothing for ${patience.toFixed(0)} s`), patience * 1000);
    };
    heard();
    const stop = () => kill('interrupted');
    process.once('exit', stop);
    createInterface({ input: child.stdout }).on('line', (line) => {
      heard();
      onLine(line);
    });
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.trim() !== '') last = line.trim();
    });
    child.on('error', ({ message }) => {
      ended ??= message;
    });
    child.on('close', (code, signal) => {
      clearTimeout(late);
      clearTimeout(silence);
      process.off('exit', stop);
      const silent = ended?.startsWith('nothing') ?? false;
      resolve({ reason: ended ?? (code === 0 ? null : `ended with ${signal ?? code}`), last, silent });
    });
  });
}
