// An address that moves from machine to machine with a role: put on an interface, announced to the neighbours, taken
// off again.
//
//    take over:  add()      the address is here, and neighbours are told: at once, and after 50, 200 and 1000 ms
//    hand over:  (close the listeners, drop the connections), then remove()
//    start:      remove()   a killed life may have left it behind
//
// The kernel is given the address for a few seconds at a time, and told again while this object stands: when the
// process is killed, stopped or hangs, the address leaves its machine by itself, in place of answering beside its new
// owner. Once it is here, the kernel answers what belongs to connections of its former owner with RST, so that their
// initiators notice at once.
//
// IPv4: gratuitous ARP, as request and as reply (neighbours differ in which of them they believe).
// IPv6: unsolicited neighbour advertisements that override; no duplicate address detection, which the former owner may
//       still win; "deprecated", so that nothing on this machine takes it as a source by itself.
//
// Threads: one, that of `clock`. The calls block for the moment the kernel takes to answer.
// Needs:   CAP_NET_ADMIN to add and remove, CAP_NET_RAW to announce.
// Errors:  one line for people. What cannot be announced or told again is said to `on_trouble`, once per announcement.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <chrono>
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
  std::chrono::seconds lifetime{5};  // without being told again; 0: it stays until it is removed
  // Asked before the kernel or the neighbours are told again; false while the role may have gone to another (a process
  // that was stopped wakes up here first). With the next true the address is put back and announced anew.
  std::function<bool()> may_keep;
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
  // While add() has put it on: true as soon as another machine announces it, false at `deadline`, or when nothing can
  // be heard. It is no longer announced or told to the kernel again: remove() comes next. Must not be destroyed
  // meanwhile.
  [[nodiscard]] boost::asio::awaitable<bool> claimed_by_another(TimePoint deadline);
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
  [[nodiscard]] error_code put();
  [[nodiscard]] bool may_keep();
  void renew();
  void tell();
  void tell_again();
  void complain(const char* doing, error_code error, const char* privilege);

  // Constant after construction.
  Clock& clock_;
  VirtualAddressOptions options_;
  std::string text_;

  Place place_;  // index 0: add() has not been said, or remove() since
  std::unique_ptr<Alarm> alarm_;
  std::unique_ptr<Alarm> renewal_;
  TimePoint kept_until_;  // by the kernel
  TimePoint begun_;
  std::size_t told_ = 0;       // times since then
  bool trouble_told_ = false;  // since announce()
  bool doubted_ = false;       // may_keep() was false since then
};

}  // namespace mpath
