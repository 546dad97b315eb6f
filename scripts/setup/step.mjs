// Runs one step of the set-up: a single progress line on the terminal, everything else in the log, and the end of the
// log when the step fails.
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';

const interactive = process.stderr.isTTY === true && !process.env.CI;

/** The end of a failed command's output; `remedy` is one line. */
export class StepError extends Error {
  constructor(message, tail) {
    super(message);
    this.tail = tail;
  }
}

/** "[ 42%]" of make and "[12/37]" of ninja, as a percentage. */
function percentage(text) {
  const match = [...text.matchAll(/\[\s*(?:(\d+)%|(\d+)\/(\d+))\]/g)].at(-1);
  if (!match) return null;
  return match[1] ? Number(match[1]) : Math.round((100 * Number(match[2])) / Number(match[3]));
}

export class Log {
  constructor(path) {
    this.path = path;
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
  }

  /** Runs `command`, shows `title` with its progress, and rejects with a StepError that carries `remedy`. */
  async run(title, command, args, { remedy, env = {} }) {
    const started = performance.now();
    let percent = null;
    let tail = '';
    const show = () => {
      const seconds = Math.round((performance.now() - started) / 1000);
      const line = `${title} … ${percent === null ? '' : `${percent} % · `}${seconds} s`;
      if (interactive) process.stderr.write(`\r\x1b[2K${line}`);
    };
    if (interactive) show();
    else process.stderr.write(`${title} …\n`);
    const timer = setInterval(show, 500);
    appendFileSync(this.path, `$ ${[command, ...args].join(' ')}\n`);
    const code = await new Promise((resolve) => {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
      const take = (chunk) => {
        appendFileSync(this.path, chunk);
        tail = (tail + chunk).slice(-8000);
        percent = percentage(tail.slice(-400)) ?? percent;
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.on('error', (error) => {
        take(`${error.message}\n`);
        resolve(127);
      });
      child.on('close', (status, signal) => resolve(signal ?? status));
    });
    clearInterval(timer);
    if (interactive) process.stderr.write('\r\x1b[2K');
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    if (code !== 0) throw new StepError(`${title} failed after ${seconds} s: ${remedy} (full log: ${this.path})`, tail);
    process.stderr.write(`${title}: done in ${seconds} s\n`);
  }
}
