// Runs a stage's commands one after another within its time, and keeps count of what passed, failed and was skipped.
import { spawn } from 'node:child_process';

export class Runner {
  #name;
  #deadline;
  #count = { passed: 0, failed: 0, skipped: 0 };

  /** @param seconds that the stage may take. */
  constructor(name, seconds) {
    this.#name = name;
    this.#deadline = Date.now() + seconds * 1000;
  }

  get secondsLeft() {
    return Math.max(0, (this.#deadline - Date.now()) / 1000);
  }

  skip(title, reason) {
    this.#count.skipped += 1;
    console.log(`!! SKIPPED ${title}: ${reason}`);
  }

  /**
   * Runs a command and tells how it went; its output is shown as it comes unless it is captured.
   * @returns its standard output when it ended with 0, else null.
   */
  async run(title, command, args, { env = {}, seconds = 240, capture = false } = {}) {
    const limit = Math.min(seconds, this.secondsLeft);
    if (limit < 5) {
      this.skip(title, 'the time of the stage is spent');
      return null;
    }
    console.log(`-- ${title}`);
    const begin = Date.now();
    const { output, error, reason } = await execute(command, args, { ...process.env, ...env }, limit, capture);
    const took = `${((Date.now() - begin) / 1000).toFixed(1)} s`;
    if (reason === null && /^SKIPPED: /m.test(output)) {
      this.skip(title, /^SKIPPED: (.*)$/m.exec(output)[1]);
      return null;
    }
    this.#count[reason === null ? 'passed' : 'failed'] += 1;
    console.log(reason === null ? `   passed in ${took}` : `!! FAILED ${title}: ${reason} after ${took}`);
    if (reason !== null && capture) console.log(`${output}${error}`.trimEnd().split('\n').slice(-15).join('\n'));
    return reason === null ? output : null;
  }

  /** @returns how many failed. */
  summarise() {
    const { passed, failed, skipped } = this.#count;
    console.log(`== ${this.#name}: ${passed} passed, ${failed} failed, ${skipped} skipped\n`);
    return failed;
  }
}

function execute(command, args, env, seconds, capture) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    let error = '';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, seconds * 1000);
    child.stdout.on('data', (chunk) => {
      output += chunk;
      if (!capture) process.stdout.write(chunk);
    });
    child.stderr.on('data', (chunk) => {
      error += chunk;
      if (!capture) process.stderr.write(chunk);
    });
    child.on('error', ({ message }) => {
      clearTimeout(timer);
      resolve({ output, error, reason: message });
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      const reason = late ? `no end in ${seconds.toFixed(0)} s` : code === 0 ? null : `ended with ${signal ?? code}`;
      resolve({ output, error, reason });
    });
  });
}
