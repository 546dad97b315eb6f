import { expect, test, vi } from 'vitest';
import { interruptible } from '../../src/cli/interrupt.js';

test('the first Ctrl-C aborts the signal, the second one ends the process', async () => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => {}) as never);
  const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  await interruptible('Start again.', async (signal) => {
    expect(signal.aborted).toBe(false);
    process.emit('SIGINT');
    expect(signal.aborted).toBe(true);
    expect(exit).not.toHaveBeenCalled();
    process.emit('SIGINT');
    expect(exit).toHaveBeenCalledWith(130);
  });
  expect(process.listeners('SIGINT')).toHaveLength(0);
  expect(stderr.mock.calls.join('')).toContain('Ctrl-C again');
  vi.restoreAllMocks();
});

test('work that throws when stopped ends with 130 and how to go on', async () => {
  const exit = vi.spyOn(process, 'exit').mockImplementation((() => {}) as never);
  vi.spyOn(process.stderr, 'write').mockReturnValue(true);
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  await interruptible('Start again.', async (signal) => {
    process.emit('SIGINT');
    signal.throwIfAborted();
  });
  expect(exit).toHaveBeenCalledWith(130);
  expect(log).toHaveBeenCalledWith('Stopped. Start again.');
  vi.restoreAllMocks();
});

test('another error is its own', async () => {
  await expect(interruptible('', () => Promise.reject(new Error('mine')))).rejects.toThrow('mine');
});
