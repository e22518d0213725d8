// Who gave too many wrong CHAP responses lately. Pure, and bounded: whose last one is longest ago gives way.
//
// An initiator is locked out by its name and address together, so that nobody can lock out another machine by using its
// name, and machines behind one address do not pay for one that has the wrong secret. An address by itself is locked
// out as well, after many more failures: it tries names.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.hpp"

namespace mpath::target {

class LoginLockout {
 public:
  static constexpr unsigned address_factor = 8;
  static constexpr std::size_t entries_max = 4096;

  LoginLockout(unsigned failures_max, Duration lockout) : failures_max_(failures_max), lockout_(lockout) {}

  // True when this failure is the one that locks out.
  bool failed(std::string_view initiator, std::string_view address, TimePoint now);
  void succeeded(std::string_view initiator, std::string_view address);
  [[nodiscard]] bool locked(std::string_view initiator, std::string_view address, TimePoint now) const;
  [[nodiscard]] std::size_t entries() const { return entries_.size(); }

 private:
  using Who = std::pair<std::string, std::string>;  // address; initiator, or empty for the address alone
  struct Entry {
    Who who;
    unsigned failures = 0;
    TimePoint forget_at;  // a pause of `lockout` since the last failure, and it starts afresh
  };
  bool count(Who who, unsigned most, TimePoint now);
  [[nodiscard]] bool reached(const Who& who, unsigned most, TimePoint now) const;
  [[nodiscard]] Entry& entry_of(Who who);

  // Constant after construction.
  unsigned failures_max_;  // 0: nobody is ever locked out
  Duration lockout_;

  std::list<Entry> entries_;  // by their last failure, oldest first
  std::map<Who, std::list<Entry>::iterator> places_;
};

}  // namespace mpath::target
