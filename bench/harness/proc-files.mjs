import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

/** Whether this system has the memory and time of processes in /proc, as Linux does. */
export const HAS_PROC = existsSync('/proc/self/schedstat');

/** Resident memory of a process, bytes. */
export function residentBytes(pid) {
  return statusBytes(pid, 'VmRSS');
}

/** The largest resident memory of a process so far, or since `resetPeak`, bytes. */
export function peakResidentBytes(pid) {
  return statusBytes(pid, 'VmHWM');
}

/** Resets the peak of resident memory to what is resident now. 5 is the kernel's code for that (proc(5)). */
export function resetPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function statusBytes(pid, field) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

/**
 * CPU time that the threads of a process have used so far in user and kernel mode, seconds, exact to the nanosecond.
 * /proc/PID/stat would count in ticks of 10 ms, as long as a whole quick measurement. Threads that have ended do not
 * count, so differences are right only for a process whose threads stay.
 */
export function cpuSeconds(pid) {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.reduce((sum, thread) => sum + threadNanoseconds(pid, thread), 0) / 1e9;
}

function threadNanoseconds(pid, thread) {
  try {
    return Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
  } catch (error) {
    // The thread has ended after it was listed.
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return 0;
    throw error;
  }
}
