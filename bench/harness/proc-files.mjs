import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Whether this system tells about processes in /proc, as Linux does. */
export const HAS_PROC = existsSync('/proc/self/stat');

/** Resident memory of a process, bytes. */
export function residentBytes(pid) {
  return statusBytes(pid, 'VmRSS');
}

/** The most that it has been so far, or since `resetPeak`. */
export function peakResidentBytes(pid) {
  return statusBytes(pid, 'VmHWM');
}

/** Lets the peak begin anew at what is resident now; 5 is the kernel's word for that (proc(5)). */
export function resetPeak(pid) {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

function statusBytes(pid, field) {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

/** CPU time that a process has used so far in user and kernel mode, all its threads, seconds. */
export function cpuSeconds(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  // The name, in parentheses, may hold spaces; utime and stime are fields 14 and 15 of proc(5).
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond();
}

let ticks;

function ticksPerSecond() {
  ticks ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return ticks;
}
