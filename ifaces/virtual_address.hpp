// An address that moves from machine to machine with a role: put on an interface, announced to the neighbours, taken
// off again.
//
//    take over:  add()      the address is here, and neighbours are told: at once, and after 50, 200 and 1000 ms
//    hand over:  (close the listeners, drop the connections), then remove()
//    start:      remove()   a killed life may have left it behind
//
// Once it is here, the kernel answers what belongs to connections of its former owner with RST, so that their
// initiators notice at once. The address stays when this object goes: only remove() takes it off.
//
// IPv4: gratuitous ARP, as request and as reply (neighbours differ in which of them they believe).
// IPv6: unsolicited neighbour advertisements that override; no duplicate address detection, because the former owner
// may
//       still have it and would win; "deprecated", so that nothing on this machine takes it as a source by itself.
//
// Threads: one, that of `clock`. The calls block for the moment the kernel takes to answer.
// Needs:   CAP_NET_ADMIN to add and remove, CAP_NET_RAW to announce.
// Errors:  one line for people. What cannot be announced is told to `on_trouble`, once per announcement: the address is
//          there all the same.
#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "ifaces/nic.hpp"

namespace mpath {

struct VirtualAddressOptions {
  std::string address;        // numeric
  int prefix_length = 0;      // 0: that of the subnet it is found in
  std::string net_ifacename;  // empty: the one that has an address of the same subnet
  std::function<void(const std::string&)> on_trouble;
};

class VirtualAddress {
 public:
  VirtualAddress(Clock& clock, VirtualAddressOptions options);
  ~VirtualAddress();
  VirtualAddress(const VirtualAddress&) = delete;
  VirtualAddress& operator=(const VirtualAddress&) = delete;

  // Afterwards it is on that interface and on no other. One that is there already is kept, and announced as well.
  [[nodiscard]] std::expected<void, std::string> add();
  // Afterwards no interface has it. Announcing ends. The machine's other addresses stay.
  [[nodiscard]] std::expected<void, std::string> remove();
  // Any interface has it.
  [[nodiscard]] std::expected<bool, std::string> present() const;
  // Tells the neighbours again, from the first to the last time: after a cable or a switch came back, say. Only what
  // add() put on is announced.
  void announce();

  // "10.0.0.10/24 dev eth0", as configured.
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  struct Place {
    unsigned index = 0;
    std::string nic;
    int prefix_length = 0;
  };
  [[nodiscard]] std::expected<Place, std::string> find_place(const std::vector<Nic>& nics) const;
  [[nodiscard]] std::expected<void, std::string> take_off(const std::vector<Nic>& nics, const Place* kept) const;
  void tell();

  // Constant after construction.
  Clock& clock_;
  VirtualAddressOptions options_;
  std::string text_;

  Place place_;  // index 0: add() has not been said, or remove() since
  std::unique_ptr<Alarm> alarm_;
  TimePoint begun_;
  std::size_t told_ = 0;  // times since then
  bool trouble_told_ = false;
};

}  // namespace mpath
