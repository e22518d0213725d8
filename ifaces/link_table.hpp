// What rtnetlink messages add up to: one Nic for every index. Logic only; the messages come from elsewhere.
//
// A dump tells everything that exists: between begin_dump() and end_dump() what is not told again is gone.
// Notifications may come in between.
#pragma once

#include <cstdint>
#include <map>

#include "ifaces/nic.hpp"

struct nlmsghdr;

namespace mpath {

class LinkTable {
 public:
  // Takes a message in; others than RTM_{NEW,DEL}{LINK,ADDR} and malformed ones are ignored. Returns the index of the
  // device it was about; 0 when it changed nothing.
  unsigned apply(const nlmsghdr& message);

  void begin_dump() { ++generation_; }
  void end_dump();

  [[nodiscard]] const Nic* find(unsigned index) const;
  [[nodiscard]] const Nic* find(const std::string& name) const;
  [[nodiscard]] std::vector<Nic> nics() const;

 private:
  struct Address {
    NicAddress value;
    std::uint64_t seen = 0;
  };
  struct Entry {
    Nic nic;                 // its addresses are filled in from `addresses`
    bool told = false;       // a link message came; addresses alone make no device
    std::uint64_t seen = 0;  // the generation that told it last
    std::map<std::pair<std::string, int>, Address> addresses;
  };

  unsigned apply_link(const nlmsghdr& message, bool present);
  unsigned apply_address(const nlmsghdr& message, bool present);
  static void collect_addresses(Entry& entry);

  std::uint64_t generation_ = 0;
  std::map<unsigned, Entry> entries_;
};

}  // namespace mpath
