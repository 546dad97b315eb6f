import type { Command } from 'commander';
import { integer } from './options.js';

export function addWatch(program: Command): void {
  program
    .command('watch')
    .summary('show a run live in the browser')
    .description(
      'Serves a run on 127.0.0.1 while it runs: stages, loss curves, newest rows. Read-only, and nothing but the folder of the run.',
    )
    .argument('<run>', "the run's folder")
    .option('--port <number>', 'port to listen on; 0 for any free one', integer(0), 7117)
    .addHelpText('after', '\nExample:\n  $ compress-distill watch runs/quickstart')
    .action(async (run: string, { port }: { port: number }) => {
      const { serveRun } = await import('../report/watch.js');
      const { server, url } = await serveRun(run, port);
      console.log(`Watching ${run} at ${url} (Ctrl-C ends it)`);
      await new Promise<void>((done) => {
        process.once('SIGINT', done).once('SIGTERM', done);
      });
      server.closeAllConnections();
      server.close();
    });
}
