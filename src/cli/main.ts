#!/usr/bin/env node
import { createProgram } from './program.js';
import { runMain } from './run_main.js';

await runMain(async () => {
  await createProgram().parseAsync();
});
