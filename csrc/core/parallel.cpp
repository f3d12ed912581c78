// How a call runs: the caller takes the submit lock (or, if it is taken, runs alone), fills in the job, opens it, wakes
// sleepers and claims tasks like everyone else. `next_` holds the job's serial number and its next unclaimed task in one
// word, so a claim is one compare-and-swap that fails on any job but the one whose fields were read. `left_` counts what
// is not finished. The caller therefore waits for tasks that somebody has claimed, never for a worker: one that wakes
// late, or loses its processor between tasks, finds nothing to claim and holds nothing up.
//
// A worker that loses its processor while it holds a task does hold the caller up, for a slice of the scheduler. It tells
// how long, and calls keep to their own thread for some time after that: on busy processors a second thread costs more
// than it gives.
#include "core/parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cmath>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>
#endif

#include "core/cgroup.h"
#include "core/check.h"
#include "core/clock.h"
#include "core/env.h"

namespace gorgo {
namespace {

constexpr int kMostThreads = 4096;
// Waking a parked thread costs some 5 to 50 us; spinning longer than that wins nothing back.
constexpr auto kSpin_ns = std::chrono::nanoseconds(30'000);
// A worker that was off its processor for so long with a task in hand was pushed off; calls then stay on their own thread
// for kRestFactor times as long (so the loss is bounded to a share of the time), though at most kRestMost_ns.
constexpr int64_t kStall_ns = 200'000;
constexpr int64_t kRestFactor = 16;
constexpr int64_t kRestMost_ns = 250'000'000;

thread_local bool t_in_region = false;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Sleeps while `word` holds `seen`; may return early.
void park(std::atomic<uint32_t>& word, uint32_t seen) {
#if defined(__linux__)
  static_assert(sizeof(std::atomic<uint32_t>) == sizeof(uint32_t));
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, seen, nullptr, nullptr, 0);
#else
  word.wait(seen);
#endif
}

void unpark(std::atomic<uint32_t>& word, int count) {
#if defined(__linux__)
  syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
#else
  if (count == 1) {
    word.notify_one();
  } else {
    word.notify_all();
  }
#endif
}

// Spins until done() holds, for a bounded time; says whether it does.
template <class Done>
bool spin_until(Done&& done) {
  for (int i = 0; i < 64; ++i) {
    if (done()) return true;
    pause_cpu();
  }
  const auto stop = std::chrono::steady_clock::now() + kSpin_ns;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < stop);
  return done();
}

// Measures how long this thread has been without a processor.
class OffProcessor {
 public:
  OffProcessor() : wall_ns_(now_ns()), own_ns_(thread_ns()) {}
  [[nodiscard]] int64_t elapsed_ns() const { return now_ns() - wall_ns_ - (thread_ns() - own_ns_); }

 private:
  static int64_t thread_ns() {
#if defined(__unix__) || defined(__APPLE__)
    timespec t{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
#else
    return now_ns();  // not known: never off
#endif
  }
  int64_t wall_ns_;
  int64_t own_ns_;
};

class ThreadPool {
 public:
  // False when another call holds the workers, or when they are better left alone for a while.
  bool try_run(int threads, int64_t tasks, TaskFn fn, void* ctx) {
    std::unique_lock lock(submit_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    if (rest_until_ns_ != 0) {
      if (now_ns() < rest_until_ns_) return false;
      rest_until_ns_ = 0;
    }
    start_workers(threads - 1);
    // Of very many tasks several at a time are claimed, so that their number fits.
    const int64_t grain = (tasks + kMostUnits - 1) / kMostUnits;
    const int64_t units = (tasks + grain - 1) / grain;
    const uint64_t serial = (next_.load(std::memory_order_relaxed) >> kUnitBits) + 1;
    // First no claim can succeed, then the fields change, then claims are let in. Who reads a changed field has also
    // seen the word change (hence release and acquire on the fields), so its claim of an older task fails.
    next_.store(serial << kUnitBits | kMostUnits, std::memory_order_relaxed);
    fn_.store(fn, std::memory_order_release);
    ctx_.store(ctx, std::memory_order_release);
    tasks_.store(tasks, std::memory_order_release);
    grain_.store(grain, std::memory_order_release);
    left_.store(static_cast<uint32_t>(units), std::memory_order_relaxed);
    next_.store(serial << kUnitBits, std::memory_order_release);
    epoch_.fetch_add(1);
    const int wanted = static_cast<int>(std::min<int64_t>(units - 1, static_cast<int64_t>(workers_.size())));
    if (sleepers_.load() > 0) unpark(epoch_, wanted);

    t_in_region = true;
    const uint32_t own = claim_and_run([] {});
    t_in_region = false;

    left_.fetch_sub(own, std::memory_order_acq_rel);
    const auto finished = [&] { return (left_.load(std::memory_order_acquire) & kCount) == 0; };
    if (spin_until(finished)) return true;
    while (true) {
      const uint32_t seen = left_.fetch_or(kCallerWaits, std::memory_order_acq_rel) | kCallerWaits;
      if ((seen & kCount) == 0) break;
      park(left_, seen);
    }
    if (const int64_t stalled = stalled_ns_.exchange(0, std::memory_order_relaxed); stalled > 0) {
      rest_until_ns_ = now_ns() + std::min(kRestFactor * stalled, kRestMost_ns);
    }
    return true;
  }

  // Waits for a running call, then ends the workers; the next call starts as many as it needs.
  void stop_workers() {
    std::lock_guard lock(submit_);
    stopping_.store(true);
    epoch_.fetch_add(1);
    unpark(epoch_, INT_MAX);
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
    stopping_.store(false);
    rest_until_ns_ = 0;
  }

 private:
  static constexpr int kUnitBits = 24;
  static constexpr int64_t kMostUnits = (int64_t{1} << kUnitBits) - 1;
  static constexpr uint32_t kCallerWaits = 1u << 31;
  static constexpr uint32_t kCount = kCallerWaits - 1;

  void start_workers(int count) {
    if (static_cast<int>(workers_.size()) >= count) return;
#if defined(__unix__) || defined(__APPLE__)
    // Signals are for the threads that know what to do with them, but a fault is its own thread's: blocked, it would end the
    // process before a handler could say where it happened.
    sigset_t blocked;
    sigset_t before;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
#endif
    try {
      while (static_cast<int>(workers_.size()) < count) {
        workers_.emplace_back([this, seen = epoch_.load()] { work(seen); });
      }
    } catch (const std::system_error&) {
      // The system gives no more threads: the tasks run on those there are, the caller at least.
    }
#if defined(__unix__) || defined(__APPLE__)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
  }

  void work(uint32_t seen) {
    t_in_region = true;
    while (true) {
      const auto called = [&] { return epoch_.load(std::memory_order_acquire) != seen; };
      if (!spin_until(called)) {
        // The caller bumps the epoch and then looks for sleepers, we announce ourselves and then look at the epoch (the
        // kernel looks once more): one of the two sees the other.
        sleepers_.fetch_add(1);
        while (epoch_.load() == seen) park(epoch_, seen);
        sleepers_.fetch_sub(1);
      }
      seen = epoch_.load(std::memory_order_acquire);
      if (stopping_.load()) return;
      const OffProcessor off;
      claim_and_run([&] {
        if ((left_.load(std::memory_order_relaxed) & kCallerWaits) != 0) {
          if (const int64_t ns = off.elapsed_ns(); ns > kStall_ns) stalled_ns_.store(ns, std::memory_order_relaxed);
        }
        // From here on the job may be over and its place taken by the next one.
        const uint32_t before = left_.fetch_sub(1, std::memory_order_acq_rel);
        if ((before & kCallerWaits) != 0 && (before & kCount) == 1) unpark(left_, 1);
      });
    }
  }

  // Claims and runs until nothing is unclaimed, telling `report` of each unit that is finished; returns their number.
  template <class Report>
  uint32_t claim_and_run(Report&& report) {
    uint32_t finished = 0;
    uint64_t next = next_.load(std::memory_order_acquire);
    while (true) {
      const TaskFn fn = fn_.load(std::memory_order_acquire);
      void* const ctx = ctx_.load(std::memory_order_acquire);
      const int64_t tasks = tasks_.load(std::memory_order_acquire);
      const int64_t grain = grain_.load(std::memory_order_acquire);
      const auto unit = static_cast<int64_t>(next & kMostUnits);
      const int64_t first = unit * grain;
      if (unit == kMostUnits || first >= tasks) return finished;
      if (!next_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const int64_t stop = std::min(first + grain, tasks);
      for (int64_t task = first; task < stop; ++task) fn(ctx, task);
      ++finished;
      report();
      next = next_.load(std::memory_order_acquire);
    }
  }

  std::mutex submit_;
  std::vector<std::thread> workers_;
  int64_t rest_until_ns_ = 0;
  std::atomic<TaskFn> fn_{nullptr};
  std::atomic<void*> ctx_{nullptr};
  std::atomic<int64_t> tasks_{0};
  std::atomic<int64_t> grain_{1};
  alignas(64) std::atomic<uint64_t> next_{0};  // serial number of the job, then the first unclaimed unit in kUnitBits
  alignas(64) std::atomic<uint32_t> left_{0};  // units not finished, and whether the caller sleeps until there are none
  std::atomic<int64_t> stalled_ns_{0};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
};

// Never destroyed: at exit the workers are parked and the process takes them along.
std::atomic<ThreadPool*> g_pool{nullptr};
std::atomic<int> g_threads{0};  // 0: not chosen yet
std::atomic<int64_t> g_shared_calls{0};

#if defined(__unix__) || defined(__APPLE__)
// The child has the forking thread alone. The parent's pool, whose lock may be held by a thread that is not there, is
// left behind and a new one made on the first call.
std::atomic<ThreadPool*> g_left_behind{nullptr};

void forget_pool_in_child() {
  g_left_behind.store(g_pool.exchange(nullptr));
  t_in_region = false;
}
#endif

ThreadPool& pool() {
  ThreadPool* current = g_pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
#if defined(__unix__) || defined(__APPLE__)
  [[maybe_unused]] static const int registered = pthread_atfork(nullptr, nullptr, forget_pool_in_child);
#endif
  auto* fresh = new ThreadPool;
  if (g_pool.compare_exchange_strong(current, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *current;
}

int affinity_threads() {
#if defined(__linux__)
  // A machine with more processors than one cpu_set_t holds refuses the small set; ask with a larger one.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) break;
    const size_t set_bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const int error = sched_getaffinity(0, set_bytes, set);
    const int count = error == 0 ? CPU_COUNT_S(set_bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int checked_threads(const char* name, int64_t n) {
  if (n < 1 || n > kMostThreads) fail<ValueError>(name, " must be in [1, ", kMostThreads, "], got ", n);
  return static_cast<int>(n);
}

int find_hardware_threads() {
  if (const auto n = env_int("GORGO_NUM_THREADS")) return checked_threads("GORGO_NUM_THREADS:", *n);
  if (const auto list = env_string("OMP_NUM_THREADS")) {
    int64_t n = 0;
    size_t used = 0;
    const std::string first = list->substr(0, list->find(','));
    try {
      n = std::stoll(first, &used);
    } catch (const std::exception&) {
      used = 0;
    }
    if (used == 0 || first.find_first_not_of(' ', used) != std::string::npos) {
      fail<ValueError>("OMP_NUM_THREADS: must be a whole number or a list of them, got '", *list, "'");
    }
    return checked_threads("OMP_NUM_THREADS:", n);
  }
  int threads = affinity_threads();
  if (const auto cpus = cgroup_cpu_quota())
    threads = std::min(threads, std::max(1, static_cast<int>(std::ceil(*cpus))));
  return std::clamp(threads, 1, kMostThreads);
}

}  // namespace

void parallel_run(int64_t tasks, TaskFn fn, void* ctx) {
  if (tasks > 1 && !t_in_region) {
    const int threads = num_threads();
    if (threads > 1) {
      g_shared_calls.fetch_add(1, std::memory_order_relaxed);
      if (pool().try_run(threads, tasks, fn, ctx)) return;
    }
  }
  for (int64_t task = 0; task < tasks; ++task) fn(ctx, task);
}

int hardware_threads() {
  static const int threads = find_hardware_threads();
  return threads;
}

int num_threads() {
  const int threads = g_threads.load(std::memory_order_relaxed);
  return threads > 0 ? threads : hardware_threads();
}

void set_num_threads(int n) {
  checked_threads("set_num_threads: n", n);
  if (t_in_region)
    fail<StateError>("set_num_threads: must be called outside a parallel region, got ", n, " inside one");
  if (g_threads.exchange(n) == n) return;
  pool().stop_workers();
}

int64_t shared_calls() { return g_shared_calls.load(std::memory_order_relaxed); }

bool in_parallel_region() { return t_in_region; }

}  // namespace gorgo
