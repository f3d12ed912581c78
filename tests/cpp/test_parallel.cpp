// The thread pool: each task once, callers side by side and nested, changing sizes, forks, idle workers.
#include <doctest/doctest.h>

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/parallel.h"

namespace {

using namespace gorgo;

// Restores the number of threads when a test ends.
class Threads {
 public:
  explicit Threads(int n) : before_(num_threads()) { set_num_threads(n); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_;
};

// Exit status of a child that runs the function; -1 if it was killed.
int status_in_child(const auto& run) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);  // a child that hangs is killed, which the parent sees
    _exit(run() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST_CASE("every task runs exactly once and is seen when the call returns") {
  for (const int threads : {1, 2, 4, 9}) {
    Threads set(threads);
    for (const int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) {
      std::vector<int> runs(static_cast<size_t>(tasks), 0);  // plain ints: the call orders the writes
      parallel_for(tasks, [&](int64_t task) { ++runs[static_cast<size_t>(task)]; });
      for (const int count : runs) CHECK(count == 1);
    }
  }
}

TEST_CASE("many short calls in a row") {
  Threads set(3);
  std::vector<int64_t> sums(5, 0);
  for (int call = 0; call < 20000; ++call) {
    parallel_for(5, [&](int64_t task) { sums[static_cast<size_t>(task)] += task + call; });
  }
  for (int64_t task = 0; task < 5; ++task) {
    CHECK(sums[static_cast<size_t>(task)] == 20000 * task + int64_t{20000} * 19999 / 2);
  }
}

TEST_CASE("several threads really take part") {
  Threads set(4);
  std::atomic<int> here{0};
  std::atomic<int> most{0};
  parallel_for(4, [&](int64_t) {
    const int now = here.fetch_add(1) + 1;
    int seen = most.load();
    while (now > seen && !most.compare_exchange_weak(seen, now)) {
    }
    // Stay until a second thread has come; give up only if none does.
    for (int i = 0; i < 2000 && most.load() < 2; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    here.fetch_sub(1);
  });
  CHECK(most.load() >= 2);
}

TEST_CASE("a worker held hostage holds up its own task alone") {
  Threads set(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> done{0};
  std::atomic<int64_t> hostage{-1};
  constexpr int64_t kTasks = 200;
  for (int round = 0; round < 20; ++round) {
    done.store(0);
    hostage.store(-1);
    parallel_for(kTasks, [&](int64_t task) {
      int64_t none = -1;
      const bool worker = std::this_thread::get_id() != caller;
      if (worker && hostage.compare_exchange_strong(none, task)) {
        // Comes free only when every other task is done: so somebody else must have taken them all.
        for (int i = 0; i < 10000 && done.load() < kTasks - 1; ++i) {
          std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        if (done.load() != kTasks - 1) return;
      } else if (!worker && task == 0) {
        // Gives the worker time to take a task; if it does not come, that must not matter either.
        for (int i = 0; i < 100 && hostage.load() < 0; ++i) std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      done.fetch_add(1);
    });
    CHECK(done.load() == kTasks);
  }
}

TEST_CASE("a worker that lost its processor over a task is left alone for a while, then asked again") {
  Threads set(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> slept{false};
  const auto call = [&] {
    std::atomic<int> strangers{0};
    parallel_for(2, [&](int64_t) {
      if (std::this_thread::get_id() != caller) {
        strangers.fetch_add(1);
        if (!slept.exchange(true)) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        return;
      }
      for (int i = 0; i < 100 && strangers.load() == 0 && in_parallel_region(); ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
    });
    return strangers.load();
  };
  for (int i = 0; i < 1000 && !slept.load(); ++i) {  // an earlier test may have left the worker at rest
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    call();
  }
  REQUIRE(slept.load());
  int later = 0;
  for (int i = 0; i < 100 && later == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    later = call();
  }
  CHECK(later > 0);
}

TEST_CASE("more tasks than a claim word can number") {
  Threads set(2);
  std::atomic<int64_t> sum{0};
  constexpr int64_t kTasks = (int64_t{1} << 25) + 5;
  parallel_for(kTasks, [&](int64_t task) {
    if (task % 1000003 == 0 || task == kTasks - 1) sum.fetch_add(task);
  });
  int64_t expected = kTasks - 1;
  for (int64_t task = 0; task < kTasks; task += 1000003) expected += task;
  CHECK(sum.load() == expected);
}

TEST_CASE("calls inside a region run on the same thread") {
  Threads set(4);
  std::atomic<int> inner{0};
  std::atomic<int> strayed{0};
  CHECK_FALSE(in_parallel_region());
  parallel_for(8, [&](int64_t) {
    if (!in_parallel_region()) strayed.fetch_add(1);
    const auto self = std::this_thread::get_id();
    parallel_for(10, [&](int64_t) {
      inner.fetch_add(1);
      if (std::this_thread::get_id() != self) strayed.fetch_add(1);
    });
  });
  CHECK(inner.load() == 80);
  CHECK(strayed.load() == 0);
  CHECK_FALSE(in_parallel_region());
}

TEST_CASE("several callers at once all get their work done") {
  Threads set(4);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 6; ++caller) {
    callers.emplace_back([&] {
      for (int call = 0; call < 500; ++call) {
        std::vector<int> runs(17, 0);
        parallel_for(17, [&](int64_t task) { ++runs[static_cast<size_t>(task)]; });
        for (const int count : runs) total.fetch_add(count);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(total.load() == 6 * 500 * 17);
}

TEST_CASE("the number of threads may change while others call") {
  Threads set(2);
  std::atomic<bool> stop{false};
  std::atomic<int64_t> wrong{0};
  std::thread caller([&] {
    while (!stop.load()) {
      std::vector<int> runs(9, 0);
      parallel_for(9, [&](int64_t task) { ++runs[static_cast<size_t>(task)]; });
      for (const int count : runs) wrong.fetch_add(count != 1);
    }
  });
  for (int round = 0; round < 60; ++round) set_num_threads(1 + round % 5);
  stop.store(true);
  caller.join();
  CHECK(wrong.load() == 0);
}

TEST_CASE("set_num_threads refuses what it cannot do, with figures") {
  const int before = num_threads();
  for (const int bad : {0, -3, 5000}) {
    CHECK_THROWS_WITH_AS(set_num_threads(bad), doctest::Contains(std::to_string(bad).c_str()), ValueError);
  }
  CHECK(num_threads() == before);
  Threads set(2);
  std::atomic<int> refused{0};
  parallel_for(2, [&](int64_t) {
    try {
      set_num_threads(3);
    } catch (const StateError&) {
      refused.fetch_add(1);
    }
  });
  CHECK(refused.load() == 2);
  CHECK(num_threads() == 2);
}

TEST_CASE("the default number of threads is at least one") {
  CHECK(hardware_threads() >= 1);
  CHECK(num_threads() >= 1);
}

TEST_CASE("a fork leaves parent and child with a working pool") {
  Threads set(3);
  const auto works = [] {
    std::vector<int> runs(50, 0);
    parallel_for(50, [&](int64_t task) { ++runs[static_cast<size_t>(task)]; });
    for (const int count : runs) {
      if (count != 1) return false;
    }
    return !in_parallel_region() && num_threads() == 3;
  };
  CHECK(works());
  CHECK(status_in_child(works) == 0);
  CHECK(works());
}

TEST_CASE("a fork while another thread is inside a call") {
  Threads set(3);
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop.load()) parallel_for(16, [](int64_t) { std::this_thread::yield(); });
  });
  for (int round = 0; round < 5; ++round) {
    CHECK(status_in_child([] {
            std::atomic<int> ran{0};
            parallel_for(40, [&](int64_t) { ran.fetch_add(1); });
            return ran.load() == 40;
          }) == 0);
  }
  stop.store(true);
  caller.join();
}

TEST_CASE("workers leave signals to others, but not their own faults") {
  Threads set(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> asked{false};
  std::atomic<bool> faults_come{false};
  std::atomic<bool> interrupts_come{true};
  const auto call = [&] {
    parallel_for(2, [&](int64_t) {
      if (std::this_thread::get_id() == caller) {  // waits for the worker to come for the other task
        for (int i = 0; i < 100 && !asked.load(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        return;
      }
      sigset_t blocked;
      pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
      faults_come.store(sigismember(&blocked, SIGSEGV) == 0 && sigismember(&blocked, SIGILL) == 0);
      interrupts_come.store(sigismember(&blocked, SIGINT) == 0);
      asked.store(true);
    });
  };
  for (int i = 0; i < 50 && !asked.load(); ++i) call();
  REQUIRE(asked.load());
  CHECK(faults_come.load());
  CHECK(!interrupts_come.load());
}

TEST_CASE("idle workers park") {
  Threads set(4);
  parallel_for(8, [](int64_t) {});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  rusage before{};
  rusage after{};
  getrusage(RUSAGE_SELF, &before);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  getrusage(RUSAGE_SELF, &after);
  const auto us = [](const timeval& t) { return t.tv_sec * 1000000 + t.tv_usec; };
  const auto spent_us = us(after.ru_utime) + us(after.ru_stime) - us(before.ru_utime) - us(before.ru_stime);
  CHECK(spent_us < 100000);  // three spinning workers would spend 900000 on three processors, 300000 on one
}

}  // namespace
