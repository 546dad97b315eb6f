// The thread of a process that keeps in touch with the other processes of its run, however busy the main thread is. Process 0
// listens; the others know it alone, and hear through it what became of each other.

import { randomBytes } from 'node:crypto';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { native } from '../native.js';
import {
  type ControlNews,
  type ControlOrder,
  type ControlSetup,
  describeProcess,
  type Frame,
  mismatch,
} from './control.js';
import { onFrames, sendFrame } from './frames.js';

const setup = workerData as ControlSetup;
const retryMilliseconds = 200;
/** How long process 0 goes on telling late comers why the run has failed. */
const lingerMilliseconds = 1500;

/** Another process, as this one reaches it. */
interface Contact {
  readonly socket: Socket;
  setup: ControlSetup;
  readonly host: string;
  readonly dataPort: number;
  heard: number;
  leaving: boolean;
}

const port = parentPort!;
/** By process: all others in process 0, process 0 in the others. */
const contacts = new Map<number, Contact>();
const gathering = new Map<number, { values: unknown[]; missing: number }>();
let joined = false;
let failure: string | null = null;
let leaving = false;

function tell(news: ControlNews): void {
  port.postMessage(news);
}

/** The run cannot go on: everybody is told, and collectives that wait for others end. */
function fail(why: string): void {
  if (failure !== null || leaving) return;
  failure = why;
  for (const { socket } of contacts.values()) sendFrame(socket, { kind: 'failed', why } satisfies Frame);
  native.failCommunicators(`${why}; ${native.othersCannotGoOn}`);
  tell({ kind: 'failed', why });
}

function collect(process: number, round: number, value: unknown): void {
  const { values, missing } = gathering.get(round) ?? { values: [], missing: setup.size };
  values[process] = value;
  gathering.set(round, { values, missing: missing - 1 });
  if (missing > 1) return;
  gathering.delete(round);
  for (const { socket } of contacts.values()) sendFrame(socket, { kind: 'gathered', round, values } satisfies Frame);
  tell({ kind: 'gathered', round, values });
}

/** What a process that has been let in says. */
function hear(contact: Contact, frame: Frame): void {
  contact.heard = performance.now();
  const { rank } = contact.setup;
  if (frame.kind === 'failed') fail(frame.why);
  else if (frame.kind === 'gather') collect(rank, frame.round, frame.value);
  else if (frame.kind === 'gathered') tell(frame);
  else if (frame.kind === 'message') tell({ ...frame, process: rank });
  else if (frame.kind === 'bye') contact.leaving = true;
}

function keep(contact: Contact): void {
  contacts.set(contact.setup.rank, contact);
  contact.socket.on('close', () => {
    contacts.delete(contact.setup.rank);
    if (!contact.leaving) fail(`${describeProcess(contact.setup, contact.host)} has ended`);
    if (leaving) finish();
  });
}

function watch(): void {
  const { silenceSeconds } = setup;
  const clock = setInterval(
    () => {
      for (const contact of contacts.values()) {
        sendFrame(contact.socket, { kind: 'alive' } satisfies Frame);
        if (performance.now() - contact.heard < silenceSeconds * 1000) continue;
        fail(`${describeProcess(contact.setup, contact.host)} has not been heard of for ${silenceSeconds} s`);
      }
    },
    (silenceSeconds * 1000) / 4,
  );
  clock.unref();
}

let server: Server | null = null;

/** Process 0: lets the others in. */
async function host(dataPort: number): Promise<void> {
  let complete = (): void => {};
  const everybody = new Promise<void>((resolve) => {
    complete = resolve;
  });
  server = createServer((socket) => {
    socket.setNoDelay().on('error', () => {}); // 'close' follows
    let contact: Contact | null = null;
    onFrames(socket, (message) => {
      const frame = message as Frame;
      if (contact !== null) {
        hear(contact, frame);
        return;
      }
      if (frame.kind !== 'hello') throw new TypeError('a stranger');
      const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '');
      const rank = frame.setup.rank;
      const there = contacts.get(rank);
      const refuse = (why: string): void => {
        sendFrame(socket, { kind: 'failed', why } satisfies Frame);
        socket.end();
      };
      if (failure !== null) return refuse(failure);
      if (rank === 0 || there !== undefined || joined) {
        const holder = rank === 0 ? 'the one that listens' : `the one at ${there?.host ?? 'an address that has left'}`;
        const why = `Expected a RANK of its own for every process but both ${holder} and one at ${address} have RANK=${rank}; give each its own number from 0 to ${setup.size - 1}`;
        refuse(why);
        if (!joined) fail(why);
        return;
      }
      const wrong = mismatch(setup, frame.setup, address);
      contact = {
        socket,
        setup: frame.setup,
        host: address,
        dataPort: frame.dataPort,
        heard: performance.now(),
        leaving: false,
      };
      keep(contact);
      if (wrong !== null) fail(wrong);
      else if (contacts.size === setup.size - 1) complete();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server!.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        new Error(
          error.code === 'EADDRINUSE'
            ? `Expected MASTER_PORT ${setup.port} to be free but another program listens there; choose another port for all processes`
            : `Process 0 cannot listen at MASTER_PORT ${setup.port}: ${error.message}`,
        ),
      ),
    );
    server!.listen(setup.port, resolve);
  });
  const late = setTimeout(() => {
    const missing = Array.from({ length: setup.size - 1 }, (_, index) => index + 1).filter(
      (rank) => !contacts.has(rank),
    );
    fail(
      `${missing.length} of ${setup.size} processes have not come within ${setup.timeoutSeconds} s: RANK ${missing.join(', ')}; see that they run and reach ${setup.address}:${setup.port}`,
    );
  }, setup.timeoutSeconds * 1000);
  late.unref();
  await everybody;
  clearTimeout(late);
  const token = randomBytes(12).toString('hex');
  const addresses = Array.from({ length: setup.size }, (_, rank) => {
    const contact = contacts.get(rank);
    return contact === undefined ? `${setup.address}:${dataPort}` : `${contact.host}:${contact.dataPort}`;
  });
  native.introducePeers(token, 0, addresses);
  joined = true;
  for (const { socket } of contacts.values())
    sendFrame(socket, { kind: 'welcome', token, addresses, ranks: setup.ranks } satisfies Frame);
  tell({ kind: 'joined', token });
}

/** Another process: knocks until process 0 answers. */
async function knock(dataPort: number): Promise<void> {
  const where = `${setup.address}:${setup.port}`;
  const begin = performance.now();
  let socket: Socket | null = null;
  let problem = '';
  while (socket === null) {
    if (performance.now() - begin > setup.timeoutSeconds * 1000)
      throw new Error(
        `Process 0 was not to be reached at ${where} within ${setup.timeoutSeconds} s (${problem}); see that it runs, and that MASTER_ADDR and MASTER_PORT are where it listens`,
      );
    socket = await new Promise<Socket | null>((resolve) => {
      const attempt = connect({ host: setup.address, port: setup.port, timeout: 5000 });
      const end = (error: string): void => {
        problem = error;
        attempt.destroy();
        resolve(null);
      };
      attempt.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
      attempt.once('timeout', () => end('no answer'));
      attempt.once('connect', () => resolve(attempt.setTimeout(0)));
    });
    if (socket === null) await sleep(retryMilliseconds);
  }
  socket.setNoDelay().on('error', () => {});
  const first: ControlSetup = { ...setup, rank: 0, ranks: '' };
  const contact: Contact = { socket, setup: first, host: where, dataPort: 0, heard: performance.now(), leaving: false };
  keep(contact);
  onFrames(socket, (message) => {
    const frame = message as Frame;
    if (frame.kind !== 'welcome') {
      hear(contact, frame);
      return;
    }
    native.introducePeers(frame.token, setup.rank, frame.addresses);
    joined = true;
    contact.setup = { ...first, ranks: frame.ranks };
    contact.heard = performance.now();
    tell({ kind: 'joined', token: frame.token });
  });
  sendFrame(socket, { kind: 'hello', setup, dataPort } satisfies Frame);
}

/** Ends the thread once nothing is left to say. */
function finish(): void {
  if (contacts.size > 0) return;
  server?.close();
  port.close();
}

/** Process 0 stays until the others have gone, so that none takes its leaving for a failure. */
function leave(): void {
  leaving = true;
  for (const { socket } of contacts.values()) {
    sendFrame(socket, { kind: 'bye' } satisfies Frame);
    if (setup.rank > 0 || failure !== null) socket.end();
  }
  if (failure === null) finish();
  else
    setTimeout(
      () => {
        for (const { socket } of contacts.values()) socket.destroy();
        contacts.clear();
        finish();
      },
      setup.rank === 0 && !joined ? lingerMilliseconds : 0,
    );
}

port.on('message', (order: ControlOrder) => {
  if (order.kind === 'leave') leave();
  else if (order.kind === 'fail') fail(order.why);
  else if (order.kind === 'gather' && setup.rank === 0) collect(0, order.round, order.value);
  else {
    const to = contacts.get(order.kind === 'message' ? order.process : 0);
    if (to !== undefined) sendFrame(to.socket, order satisfies Frame);
  }
});

try {
  const dataPort = native.listenForPeers();
  watch(); // from the first word on: the meeting may take longer than anybody may be silent
  await (setup.rank === 0 ? host(dataPort) : knock(dataPort));
} catch (error) {
  fail((error as Error).message);
}
