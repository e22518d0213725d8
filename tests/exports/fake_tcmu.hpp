// The kernel's side of a TCMU ring, in memory: puts commands in, takes answers out, and insists on the rules as the
// kernel does (an answer for an unknown command breaks the ring).
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "exports/tcmu_ring.hpp"
#include "wire/scsi_cdb.hpp"

namespace mpath::test {

class FakeTcmu {
 public:
  struct Answer {
    std::uint8_t status = 0;
    std::vector<std::byte> sense;
    std::vector<std::byte> data;  // what came in, as far as the answer says that it is there
    bool read_length = false;
  };
  static constexpr std::size_t block = 4096;

  explicit FakeTcmu(std::uint32_t ring_bytes = 65536, std::size_t blocks = 512)
      : ring_bytes_(ring_bytes), memory_((tcmu::mailbox_bytes + ring_bytes) / 8 * 8 + blocks * block), busy_(blocks) {
    put(0, tcmu::mailbox_version);
    put(tcmu::mailbox_flags, std::uint16_t{0xf});
    put(tcmu::mailbox_ring_offset, static_cast<std::uint32_t>(tcmu::mailbox_bytes));
    put(tcmu::mailbox_ring_size, ring_bytes);
  }

  [[nodiscard]] std::span<std::byte> memory() { return memory_; }
  template <typename Number>
  void put(std::size_t place, Number number) {
    std::memcpy(memory_.data() + place, &number, sizeof(number));
  }
  template <typename Number>
  [[nodiscard]] Number get(std::size_t place) const {
    Number number;
    std::memcpy(&number, memory_.data() + place, sizeof(number));
    return number;
  }
  [[nodiscard]] std::uint32_t head() const { return get<std::uint32_t>(tcmu::mailbox_head); }
  [[nodiscard]] std::uint32_t tail() const { return get<std::uint32_t>(tcmu::mailbox_tail); }
  [[nodiscard]] std::size_t entry(std::uint32_t place) const { return tcmu::mailbox_bytes + place; }
  // Where the entry of the last command begins in memory().
  [[nodiscard]] std::size_t last_entry() const { return last_; }

  // Puts a command in. `length` bytes of payload, the first of them from `out`; the blocks are given from the end when
  // `scattered`, so that each is a piece of its own.
  std::uint16_t ask(const scsi::Cdb& cdb, std::size_t length = 0, std::span<const std::byte> out = {},
                    bool scattered = false) {
    Command command{.length = length};
    for (std::size_t left = length; left > 0; left -= std::min(left, block)) command.blocks.push_back(claim(scattered));
    std::vector<iovec> pieces;
    std::size_t left = length;
    for (const std::size_t index : command.blocks) {
      const std::size_t part = std::min(left, block);
      left -= part;
      const std::size_t place = data_begin() + index * block;
      const bool joins = !pieces.empty() &&
                         reinterpret_cast<std::uintptr_t>(pieces.back().iov_base) + pieces.back().iov_len == place &&
                         pieces.back().iov_len % block == 0;
      if (joins) {
        pieces.back().iov_len += part;
      } else {
        pieces.push_back({reinterpret_cast<void*>(place), part});
      }
    }
    scatter(command, out);
    const std::size_t base =
        std::max(tcmu::entry_bytes_min, tcmu::request_piece_list + pieces.size() * sizeof(iovec));
    const std::size_t size = base + (cdb.length + 7u) / 8 * 8;
    const std::size_t place = begin_entry(size, tcmu::op_command);
    do ++next_id_;
    while (next_id_ == 0 || commands_.contains(next_id_));
    put(place + tcmu::entry_id, next_id_);
    put(place + tcmu::request_pieces, static_cast<std::uint32_t>(pieces.size()));
    put(place + tcmu::request_cdb_offset, std::uint64_t{place + base});
    for (std::size_t i = 0; i < pieces.size(); ++i)
      put(place + tcmu::request_piece_list + i * sizeof(iovec), pieces[i]);
    std::copy_n(cdb.bytes.begin(), cdb.length, memory_.begin() + static_cast<std::ptrdiff_t>(place + base));
    commands_[next_id_] = command;
    end_entry(size);
    return next_id_;
  }
  void tell_aborts(std::uint32_t count) {
    const std::size_t size = tcmu::task_bytes_min + (count * 2 + 7) / 8 * 8;
    const std::size_t place = begin_entry(size, tcmu::op_task_management);
    put(place + tcmu::task_type, std::uint8_t{1});
    put(place + tcmu::task_count, count);
    end_entry(size);
  }

  // The doorbell: takes what was answered.
  void ring() {
    while (cleaned_ != tail()) {
      const std::size_t place = entry(cleaned_);
      const auto word = get<std::uint32_t>(place);
      cleaned_ = (cleaned_ + (word & ~tcmu::op_mask)) % ring_bytes_;
      if ((word & tcmu::op_mask) != tcmu::op_command) continue;
      const auto id = get<std::uint16_t>(place + tcmu::entry_id);
      const auto found = commands_.find(id);
      if (found == commands_.end()) {
        ADD_FAILURE() << "the ring is broken: command " << id << " is not known";
        return;
      }
      Answer answer;
      answer.status = get<std::uint8_t>(place + tcmu::answer_status);
      const auto told = get<std::uint32_t>(place + tcmu::answer_read_length);
      answer.read_length = (get<std::uint8_t>(place + tcmu::entry_user_flags) & tcmu::user_flag_read_length) != 0;
      const auto first = memory_.begin() + static_cast<std::ptrdiff_t>(place + tcmu::answer_sense);
      answer.sense.assign(first, first + tcmu::answer_sense_bytes);
      const std::size_t length = found->second.length;
      if (keep_answers) answer.data = gather(found->second, answer.read_length ? std::min<std::size_t>(told, length) : length);
      for (const std::size_t index : found->second.blocks) busy_[index] = false;
      commands_.erase(found);
      ++answered_count;
      if (keep_answers) answers_[id] = std::move(answer);
    }
  }
  // What was answered to a command; nothing yet: none.
  [[nodiscard]] std::optional<Answer> answer(std::uint16_t id) {
    const auto found = answers_.find(id);
    if (found == answers_.end()) return std::nullopt;
    Answer answer = std::move(found->second);
    answers_.erase(found);
    return answer;
  }
  // action/reset_ring: returns what had no answer.
  std::set<std::uint16_t> reset() {
    std::set<std::uint16_t> left;
    for (const auto& [id, command] : commands_) left.insert(id);
    commands_.clear();
    busy_.assign(busy_.size(), false);
    cleaned_ = 0;
    put(tcmu::mailbox_tail, std::uint32_t{0});
    put(tcmu::mailbox_head, std::uint32_t{0});
    return left;
  }
  [[nodiscard]] std::size_t unanswered() const { return commands_.size(); }

  bool keep_answers = true;
  std::uint64_t answered_count = 0;

 private:
  struct Command {
    std::size_t length = 0;
    std::vector<std::size_t> blocks;
  };

  [[nodiscard]] std::size_t data_begin() const { return tcmu::mailbox_bytes + ring_bytes_; }
  std::size_t claim(bool scattered) {
    for (std::size_t i = 0; i < busy_.size(); ++i) {
      const std::size_t index = scattered ? busy_.size() - 1 - i : i;
      if (busy_[index]) continue;
      busy_[index] = true;
      return index;
    }
    ADD_FAILURE() << "no room in the data area";
    return 0;
  }
  void scatter(const Command& command, std::span<const std::byte> out) {
    for (const std::size_t index : command.blocks) {
      const std::size_t part = std::min(out.size(), block);
      std::copy_n(out.begin(), part, memory_.begin() + static_cast<std::ptrdiff_t>(data_begin() + index * block));
      out = out.subspan(part);
    }
  }
  std::vector<std::byte> gather(const Command& command, std::size_t length) const {
    std::vector<std::byte> bytes;
    for (const std::size_t index : command.blocks) {
      const auto first = memory_.begin() + static_cast<std::ptrdiff_t>(data_begin() + index * block);
      bytes.insert(bytes.end(), first, first + static_cast<std::ptrdiff_t>(std::min(block, length - bytes.size())));
      if (bytes.size() == length) break;
    }
    return bytes;
  }
  // Entries are not cut in two at the end of the ring: padding fills it.
  std::size_t begin_entry(std::size_t size, std::uint32_t op) {
    if (ring_bytes_ - head() < size) {
      put(entry(head()), static_cast<std::uint32_t>(ring_bytes_ - head()) | tcmu::op_pad);
      put(tcmu::mailbox_head, std::uint32_t{0});
    }
    const std::size_t place = entry(head());
    std::memset(memory_.data() + place, 0, size);
    put(place, static_cast<std::uint32_t>(size) | op);
    last_ = place;
    return place;
  }
  void end_entry(std::size_t size) {
    put(tcmu::mailbox_head, static_cast<std::uint32_t>((head() + size) % ring_bytes_));
  }

  std::uint32_t ring_bytes_;
  std::vector<std::byte> memory_;
  std::vector<bool> busy_;
  std::map<std::uint16_t, Command> commands_;
  std::map<std::uint16_t, Answer> answers_;
  std::uint32_t cleaned_ = 0;
  std::uint16_t next_id_ = 0;
  std::size_t last_ = 0;
};

}  // namespace mpath::test
