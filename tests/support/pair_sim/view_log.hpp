// The views that the members of a pair have decided, as somebody sees them who sees everything: one history.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "target/replication/node_fsm.hpp"

namespace mpath::target::replication::test {

class ViewLog {
 public:
  enum class News : std::uint8_t { known, decided, contradicts, does_not_follow };

  // A member has it as decided.
  News learned(const View& view);
  // Of two of one number, this one counts.
  void keep(const View& view) { decided_[view.number] = highest_ = view; }
  [[nodiscard]] const View& highest() const { return highest_; }
  [[nodiscard]] const View& at(std::uint64_t number) const { return decided_.at(number); }
  [[nodiscard]] bool has(std::uint64_t number) const { return decided_.contains(number); }
  [[nodiscard]] std::uint64_t takeovers() const { return takeovers_; }
  [[nodiscard]] std::uint64_t size() const { return decided_.size(); }

  // A node whose memory is sound has voted for its own proposal.
  void proposed_soundly(const View& view) { proposed_soundly_.insert(format_view(view)); }
  [[nodiscard]] bool was_proposed_soundly(const View& view) const {
    return proposed_soundly_.contains(format_view(view));
  }

 private:
  View highest_{.number = 1, .primary = Member::a, .in_sync = {Member::a, Member::b}};
  std::map<std::uint64_t, View> decided_;
  std::set<std::string> proposed_soundly_;
  std::uint64_t takeovers_ = 0;
};

}  // namespace mpath::target::replication::test
