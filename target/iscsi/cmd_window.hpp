// The command window of a session: which CmdSN may come, and commands that came before their turn (RFC 7143, 4.2.2.1).
//
//    ExpCmdSN ... what came out of turn waits here ... MaxCmdSN
//
// Pure. The window opens by one for every command that is finished, so that MaxCmdSN never goes back and no more than
// `size` commands are unanswered at a time.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "wire/iscsi_pdu.hpp"

namespace mpath::target {

template <typename T>
class CmdWindow {
 public:
  CmdWindow(std::uint32_t first, std::uint32_t size)
      : expected_(first), max_(first + size - 1), places_(std::bit_ceil(size)) {}

  [[nodiscard]] std::uint32_t expected() const { return expected_; }
  [[nodiscard]] std::uint32_t max() const { return max_; }

  // Whether a command with this number is taken: it lies in the window and did not come before. Others are ignored
  // without an answer.
  [[nodiscard]] bool takes(std::uint32_t cmd_sn) const {
    return !iscsi::sn_before(cmd_sn, expected_) && !iscsi::sn_before(max_, cmd_sn) && !place(cmd_sn).present;
  }
  // A command that takes() agreed to; null for a number that is used up without one. It comes out of next() in its
  // turn.
  void put(std::uint32_t cmd_sn, T* command) { place(cmd_sn) = {.command = command, .present = true}; }
  // One that waits is taken out: its number stays used up.
  void empty(std::uint32_t cmd_sn) { place(cmd_sn).command = nullptr; }

  // Whether the command whose turn it is has come.
  [[nodiscard]] bool ready() const { return place(expected_).present; }
  // That command, which counts as unanswered until release(); null for a number that was used up without one, which is
  // released at once.
  [[nodiscard]] T* next() {
    T* const command = place(expected_).command;
    place(expected_) = {};
    ++expected_;
    if (command == nullptr) release();
    return command;
  }
  // A command was answered, or ended without an answer.
  void release() { ++max_; }

 private:
  struct Place {
    T* command = nullptr;
    bool present = false;
  };
  [[nodiscard]] Place& place(std::uint32_t cmd_sn) { return places_[cmd_sn & (places_.size() - 1)]; }
  [[nodiscard]] const Place& place(std::uint32_t cmd_sn) const { return places_[cmd_sn & (places_.size() - 1)]; }

  std::uint32_t expected_;
  std::uint32_t max_;
  std::vector<Place> places_;
};

}  // namespace mpath::target
