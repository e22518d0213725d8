#include "target/scsi/range_locks.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "base/random.hpp"

namespace mpath::target {
namespace {

// A list, walked from its front for every question: what RangeLocks must be equal to.
class Reference {
 public:
  struct Entry {
    std::size_t id;
    std::uint64_t first, count;
    bool exclusive;
    bool held = false;
  };
  bool lock(std::size_t id, std::uint64_t first, std::uint64_t count, bool exclusive) {
    entries_.push_back({id, first, count, exclusive});
    settle();
    return entries_.back().held;
  }
  void release(std::size_t id) {
    std::erase_if(entries_, [id](const Entry& entry) { return entry.id == id; });
    settle();
  }
  [[nodiscard]] std::vector<std::size_t> held() const {
    std::vector<std::size_t> ids;
    for (const Entry& entry : entries_) {
      if (entry.held) ids.push_back(entry.id);
    }
    return ids;
  }

 private:
  void settle() {
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      bool free = true;
      for (std::size_t j = 0; j < i; ++j) {
        const Entry& a = entries_[i];
        const Entry& b = entries_[j];
        bool shares_a_block = false;
        for (std::uint64_t block = a.first; block < a.first + a.count; ++block) {
          shares_a_block = shares_a_block || (block >= b.first && block < b.first + b.count);
        }
        if (shares_a_block && (a.exclusive || b.exclusive)) free = false;
      }
      if (free) entries_[i].held = true;
    }
  }
  std::vector<Entry> entries_;
};

struct Holder : RangeLock {
  std::size_t id = 0;
  unsigned times_granted = 0;
};

Holder holder(std::uint64_t first, std::uint64_t count, bool exclusive) {
  Holder made;
  made.first = first;
  made.count = count;
  made.exclusive = exclusive;
  made.granted = [](RangeLock& lock) noexcept { ++static_cast<Holder&>(lock).times_granted; };
  return made;
}

TEST(RangeLocks, SharedHoldersNeverWaitForEachOther) {
  RangeLocks locks;
  Holder a = holder(0, 8, false);
  Holder b = holder(4, 8, false);
  EXPECT_TRUE(locks.lock(a));
  EXPECT_TRUE(locks.lock(b));
  locks.release(a);
  locks.release(b);
  EXPECT_TRUE(locks.idle());
}

TEST(RangeLocks, AnExclusiveHolderWaitsForEveryOverlap) {
  RangeLocks locks;
  Holder reader = holder(0, 8, false);
  Holder writer = holder(7, 2, true);
  Holder aside = holder(9, 1, true);
  EXPECT_TRUE(locks.lock(reader));
  EXPECT_FALSE(locks.lock(writer));
  EXPECT_TRUE(locks.lock(aside));
  locks.release(reader);
  EXPECT_EQ(writer.times_granted, 1u);
  locks.release(writer);
  locks.release(aside);
}

TEST(RangeLocks, ReadersBehindAWaitingWriterDoNotOvertakeIt) {
  RangeLocks locks;
  Holder first = holder(0, 8, false);
  Holder writer = holder(0, 8, true);
  Holder late = holder(0, 8, false);
  EXPECT_TRUE(locks.lock(first));
  EXPECT_FALSE(locks.lock(writer));
  EXPECT_FALSE(locks.lock(late));
  locks.release(writer);  // gives up waiting
  EXPECT_EQ(late.times_granted, 1u);
  locks.release(first);
  locks.release(late);
}

TEST(RangeLocks, TheLastBlocksThereCanBeAreNoSpecialCase) {
  RangeLocks locks;
  const std::uint64_t top = ~std::uint64_t{0};
  Holder all = holder(0, top, true);
  Holder last = holder(top - 1, 1, false);
  Holder nothing = holder(5, 0, true);
  EXPECT_TRUE(locks.lock(all));
  EXPECT_FALSE(locks.lock(last));
  EXPECT_TRUE(locks.lock(nothing));
  locks.release(all);
  EXPECT_EQ(last.times_granted, 1u);
  locks.release(last);
  locks.release(nothing);
}

// Each of these gives its lock back as soon as it has it, from within `granted`.
TEST(RangeLocks, AQueueOfThousandsIsNoRecursion) {
  RangeLocks locks;
  struct Passing : Holder {
    RangeLocks* locks = nullptr;
    unsigned* order = nullptr;
    unsigned came = 0;
  };
  Holder first = holder(0, 1, true);
  EXPECT_TRUE(locks.lock(first));
  unsigned order = 0;
  std::vector<Passing> queue(20000);
  for (Passing& each : queue) {
    each.first = 0;
    each.count = 1;
    each.exclusive = true;
    each.locks = &locks;
    each.order = &order;
    each.granted = [](RangeLock& lock) noexcept {
      auto& self = static_cast<Passing&>(lock);
      self.came = (*self.order)++;
      self.locks->release(self);
    };
    EXPECT_FALSE(locks.lock(each));
  }
  locks.release(first);
  for (unsigned i = 0; i < queue.size(); ++i) EXPECT_EQ(queue[i].came, i);
  EXPECT_TRUE(locks.idle());
}

// Without granules, with ranges of up to nine granules, of which some are too many to be counted, and of up to three.
class RangeLocksByGranules : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(, RangeLocksByGranules, testing::Values(RangeLocks::no_granules, 0u, 2u));

TEST_P(RangeLocksByGranules, DoWhatTheReferenceDoes) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::uint64_t random = seed;
    RangeLocks locks(GetParam());
    Reference reference;
    std::vector<std::unique_ptr<Holder>> live;
    std::size_t next_id = 0;
    for (int step = 0; step < 200; ++step) {
      const bool add = live.empty() || (live.size() < 12 && next_random(random) % 2 == 0);
      if (add) {
        auto made = std::make_unique<Holder>(
            holder(next_random(random) % 32, next_random(random) % 9, next_random(random) % 3 == 0));
        made->id = next_id++;
        const bool expected = reference.lock(made->id, made->first, made->count, made->exclusive);
        ASSERT_EQ(locks.lock(*made), expected) << "seed " << seed << " step " << step;
        live.push_back(std::move(made));
      } else {
        const std::size_t index = next_random(random) % live.size();
        reference.release(live[index]->id);
        locks.release(*live[index]);
        live.erase(live.begin() + static_cast<std::ptrdiff_t>(index));
      }
      std::vector<std::size_t> held;
      for (const auto& each : live) {
        if (each->held) held.push_back(each->id);
        ASSERT_LE(each->times_granted, 1u);
      }
      ASSERT_EQ(held, reference.held()) << "seed " << seed << " step " << step;
    }
    for (const auto& each : live) locks.release(*each);
    ASSERT_TRUE(locks.idle());
  }
}

}  // namespace
}  // namespace mpath::target
