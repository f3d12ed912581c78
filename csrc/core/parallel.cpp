// How a call runs: the caller takes the submit lock (or, if it is taken, runs alone), fills in the job, opens the gate,
// wakes sleepers and claims tasks like everyone else. `gate_` counts the workers inside a job; once the caller finds no
// task left it closes the gate and waits for the count to fall to zero. A worker that comes late sees the gate closed
// and leaves without touching the job, so the job's fields may be rewritten as soon as the call has returned.
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
#include <unistd.h>
#endif

#include "core/cgroup.h"
#include "core/check.h"
#include "core/env.h"

namespace gorgo {
namespace {

constexpr int kMostThreads = 4096;
// Waking a parked thread costs some 5 to 50 us; spinning longer than that wins nothing back.
constexpr auto kSpin_ns = std::chrono::nanoseconds(30'000);

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

class ThreadPool {
 public:
  // False when another call holds the workers.
  bool try_run(int threads, int64_t tasks, TaskFn fn, void* ctx) {
    std::unique_lock lock(submit_, std::try_to_lock);
    if (!lock.owns_lock()) return false;
    start_workers(threads - 1);
    fn_ = fn;
    ctx_ = ctx;
    tasks_ = tasks;
    next_.store(0, std::memory_order_relaxed);
    gate_.fetch_and(~kClosed, std::memory_order_release);
    epoch_.fetch_add(1);
    const int wanted = static_cast<int>(std::min<int64_t>(tasks - 1, static_cast<int64_t>(workers_.size())));
    if (sleepers_.load() > 0) unpark(epoch_, wanted);

    t_in_region = true;
    claim_tasks();
    t_in_region = false;

    gate_.fetch_or(kClosed, std::memory_order_acq_rel);
    const auto empty = [&] { return (gate_.load(std::memory_order_acquire) & kCount) == 0; };
    if (!spin_until(empty)) {
      while (true) {
        const uint32_t seen = gate_.fetch_or(kCallerWaits, std::memory_order_acq_rel) | kCallerWaits;
        if ((seen & kCount) == 0) break;
        park(gate_, seen);
      }
      gate_.fetch_and(~kCallerWaits, std::memory_order_relaxed);
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
  }

 private:
  static constexpr uint32_t kClosed = 1u << 31;
  static constexpr uint32_t kCallerWaits = 1u << 30;
  static constexpr uint32_t kCount = kCallerWaits - 1;

  void start_workers(int count) {
    if (static_cast<int>(workers_.size()) >= count) return;
#if defined(__unix__) || defined(__APPLE__)
    // Signals are for the threads that know what to do with them.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
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
      if ((gate_.fetch_add(1, std::memory_order_acq_rel) & kClosed) == 0) claim_tasks();
      const uint32_t before = gate_.fetch_sub(1, std::memory_order_acq_rel);
      if ((before & kCallerWaits) != 0 && (before & kCount) == 1) unpark(gate_, 1);
    }
  }

  void claim_tasks() {
    const TaskFn fn = fn_;
    void* const ctx = ctx_;
    const int64_t tasks = tasks_;
    while (true) {
      const int64_t task = next_.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return;
      fn(ctx, task);
    }
  }

  std::mutex submit_;
  std::vector<std::thread> workers_;
  TaskFn fn_ = nullptr;
  void* ctx_ = nullptr;
  int64_t tasks_ = 0;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint32_t> gate_{kClosed};
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
};

// Never destroyed: at exit the workers are parked and the process takes them along.
std::atomic<ThreadPool*> g_pool{nullptr};
std::atomic<int> g_threads{0};  // 0: not chosen yet

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
  if (n < 1 || n > kMostThreads) fail<ValueError>(name, ": must be in [1, ", kMostThreads, "], got ", n);
  return static_cast<int>(n);
}

int find_hardware_threads() {
  if (const auto n = env_int("GORGO_NUM_THREADS")) return checked_threads("GORGO_NUM_THREADS", *n);
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
    return checked_threads("OMP_NUM_THREADS", n);
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
    if (threads > 1 && pool().try_run(threads, tasks, fn, ctx)) return;
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

bool in_parallel_region() { return t_in_region; }

}  // namespace gorgo
