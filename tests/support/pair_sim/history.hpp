// What clients know of the blocks they write, and so what a read may return. One writer a block at a time, who waits
// for his answer: a read returns the last value that was answered or read, or one whose end is open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace mpath::target::replication::test {

// A client's write, from its birth until nobody can apply it any more: whoever may still do holds it.
struct Write {
  std::size_t block = 0;
  std::uint64_t value = 0;
  bool through = false;    // FUA
  bool answered = false;   // its client knows that it is done
  bool abandoned = false;  // its client has given up: an answer would reach nobody
};

class History {
 public:
  explicit History(std::size_t blocks) : blocks_(blocks) {}

  // Another value than any before.
  [[nodiscard]] std::shared_ptr<Write> begin(std::size_t block, bool through);
  void acknowledged(Write& write);
  // What a read has returned. False: it cannot be.
  [[nodiscard]] bool seen(std::size_t block, std::uint64_t value);
  // Whether no write of the block may still come.
  [[nodiscard]] bool settled(std::size_t block) const;
  // Power was lost on every node that held everything: whatever was not synchronised may be gone.
  void total_loss();
  // The write that carries this value, while it is not known how it ended. Empty: there is none.
  [[nodiscard]] std::shared_ptr<void> holding(std::uint64_t value) const;
  [[nodiscard]] std::string possible(std::size_t block) const;  // for people

 private:
  static constexpr std::uint64_t nothing = 0;
  // Seen from outside.
  struct Block {
    std::set<std::uint64_t> possible{nothing};
    std::vector<std::weak_ptr<Write>> open;             // that may not have ended
    std::vector<std::uint64_t> since_through{nothing};  // what may be left when all power is lost: since the last FUA
  };
  [[nodiscard]] static std::set<std::uint64_t> coming(const Block& block);

  std::vector<Block> blocks_;
  std::vector<std::weak_ptr<Write>> writes_{1};  // by value; the first one is nothing
};

}  // namespace mpath::target::replication::test
