// What a block may legally hold: every block is a register that overlapping writes and reads share.
//
// A read may return the value of any write that had begun before the read ended, unless another write that began after
// that one was answered had itself been answered before the read began. A value that was seen counts as answered: the
// register does not go back behind it. Writes without an answer (an error, a lost connection) may show at any time.
//
// Pure: the order of the calls is the only clock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mpath::verify {

enum class Verdict : std::uint8_t {
  good,
  lost,    // the block holds nothing of ours although a write was acknowledged
  stale,   // an acknowledged newer write is missing
  forged,  // a sequence number that was never written
};

// Taken when a read of one block begins, given back when it ends.
struct ReadTicket {
  std::uint64_t block = 0;
  std::uint64_t issued = 0;  // writes begun until then
  std::uint64_t acked = 0;   // writes answered until then
  bool blank_allowed = true;
  bool raced = false;  // a write was in flight at the beginning
  std::vector<std::uint64_t> allowed;
};

class RegisterHistory {
 public:
  explicit RegisterHistory(std::size_t blocks) : registers_(blocks) {}

  // Returns the sequence number of the new write, from 1.
  [[nodiscard]] std::uint64_t begin_write(std::uint64_t block);
  void ack_write(std::uint64_t block, std::uint64_t seq);
  // No answer will come: an error, or the connection went away. The value may show, now or later.
  void lose_write(std::uint64_t block, std::uint64_t seq);

  // Fills `ticket`, reusing its memory.
  void begin_read(std::uint64_t block, ReadTicket& ticket) const;
  // `seq` 0: the block holds nothing of this run.
  [[nodiscard]] Verdict end_read(const ReadTicket& ticket, std::uint64_t seq);
  // True when a write overlapped the read, so that a mix of old and new sectors is nobody's fault.
  [[nodiscard]] bool raced(const ReadTicket& ticket) const;

  [[nodiscard]] bool write_in_flight(std::uint64_t block) const { return registers_[block].in_flight != 0; }
  [[nodiscard]] bool written(std::uint64_t block) const { return registers_[block].acked != 0; }
  [[nodiscard]] std::size_t size() const { return registers_.size(); }
  // Writes acknowledged, and those of them whose block was read back good by a read that began after the answer.
  [[nodiscard]] std::uint64_t acked() const { return acked_; }
  [[nodiscard]] std::uint64_t verified() const { return verified_; }

 private:
  enum class Answer : std::uint8_t { awaited, acked, lost };
  struct Candidate {
    std::uint64_t seq;
    std::uint64_t began;
    std::uint64_t answered = 0;
    Answer answer = Answer::awaited;
  };
  struct Register {
    std::vector<Candidate> candidates;  // what it may hold now
    std::uint64_t issued = 0;
    std::uint64_t acked = 0;
    std::uint64_t verified = 0;
    std::uint32_t in_flight = 0;
    bool blank_allowed = true;
  };
  // `seq` has taken effect: what was answered before it began is overwritten.
  static void supersede(Register& reg, std::uint64_t seq);

  std::vector<Register> registers_;
  std::uint64_t now_ = 0;
  std::uint64_t acked_ = 0;
  std::uint64_t verified_ = 0;
};

}  // namespace mpath::verify
