/** Starts several processes of one command on this machine: what Slurm or torchrun do across machines. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import type { Command } from 'commander';
import { addRequiredOption, integer } from './options.js';

export function addLaunch(program: Command): void {
  const command = program
    .command('launch')
    .summary('several processes of one command on this machine')
    .description(
      'Starts a command in several processes with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT set, as a launcher does across machines.',
    )
    .argument('<command...>', 'behind --: the command to start, with its options')
    .option('--port <port>', 'where the processes meet (default: a free one)', integer(1))
    .addHelpText('after', '\nExample:\n  $ compress-distill launch --processes 2 -- train my-student.yaml --mesh dp=4')
    .action((words: string[], options: { processes: number; port?: number }) => launch(words, options));
  addRequiredOption(command, '--processes <count>', 'how many', integer(1));
}

async function launch(words: string[], { processes, port }: { processes: number; port?: number }): Promise<void> {
  const meeting = port ?? (await freePort());
  const children = Array.from({ length: processes }, (_, rank) => {
    const place = {
      RANK: rank,
      LOCAL_RANK: rank,
      WORLD_SIZE: processes,
      MASTER_ADDR: '127.0.0.1',
      MASTER_PORT: meeting,
    };
    const own = Object.fromEntries(Object.entries(place).map(([name, value]) => [name, String(value)]));
    return spawn(process.execPath, [process.argv[1]!, ...words], { env: { ...process.env, ...own }, stdio: 'inherit' });
  });
  // Ctrl-C reaches the children by itself, since they belong to the same terminal.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {
    for (const child of children) child.kill('SIGTERM');
  });
  const codes = await Promise.all(
    children.map(async (child) => {
      const [code] = (await once(child, 'exit')) as [number | null];
      return code ?? 1;
    }),
  );
  process.exitCode = codes.find((code) => code !== 0) ?? 0;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
