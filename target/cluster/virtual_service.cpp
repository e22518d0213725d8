#include "target/cluster/virtual_service.hpp"

#include <fmt/format.h>

#include <utility>

#include "base/check.hpp"

namespace mpath::target::cluster {

using boost::asio::awaitable;

namespace {

constexpr std::chrono::seconds retry_after{2};

}  // namespace

struct VirtualService::Moving {
  Moving(Clock& clock, const VirtualIp& ip, const Doors& doors, const Log& log)
      : numeric(parse_ip_address(ip.address).value_or(IpAddress{})),
        address(clock, {.address = ip.address,
                        .prefix_length = static_cast<int>(ip.prefix),
                        .net_ifacename = ip.interface,
                        .on_trouble =
                            [this, &log](const std::string& line) {
                              log.error("virtual IP: {}", line);
                              announce_trouble = line;
                            },
                        .may_keep = doors.may_serve}) {}
  IpAddress numeric;
  std::string trouble;           // why it could not be put on, or taken off
  std::string announce_trouble;  // why neighbours were not told
  VirtualAddress address;
};

VirtualService::VirtualService(boost::asio::any_io_executor control, Clock& clock,
                               const std::vector<VirtualIp>& addresses, Doors doors, const Log& log)
    : clock_(clock), doors_(std::move(doors)), log_(log), idle_(std::move(control)) {
  retry_ = clock_.make_alarm([this] { try_again(); });
  for (const VirtualIp& ip : addresses) addresses_.push_back(std::make_unique<Moving>(clock, ip, doors_, log_));
  idle_.set();
}

VirtualService::~VirtualService() {
  CHECK(idle_.is_set());
}

void VirtualService::clear() {
  for (const auto& each : addresses_) {
    if (each->address.present() == true)
      log_.notice("virtual IP {}: was left behind, is removed", each->address.text());
    note(each->trouble, each->address.remove());
  }
}

awaitable<void> VirtualService::become(bool serving, Duration other_takes_it) {
  wanted_ = serving;
  while (!idle_.is_set()) co_await idle_.wait_uncancelled();  // whoever is at it sees the wish too
  idle_.clear();
  struct Done {
    Event& idle;
    ~Done() { idle.set(); }
  };
  const Done done{idle_};
  while (serving_ != wanted_) {
    if (wanted_) {
      take();
    } else {
      co_await leave(other_takes_it);
    }
  }
  if (!serving_ || !std::exchange(hushed_, false)) co_return;
  for (const auto& each : addresses_) co_await drop(*each);  // the hand-over came to nothing: they may come again
}

awaitable<void> VirtualService::hush() {
  if (!doors_.mute_connections) co_return;
  hushed_ = true;
  for (const auto& each : addresses_) co_await doors_.mute_connections(each->numeric);
}

awaitable<std::size_t> VirtualService::drop(const Moving& moving) {
  doors_.drop_logins(moving.numeric);
  co_return co_await doors_.drop_connections(moving.numeric);
}

void VirtualService::take() {
  serving_ = true;
  if (addresses_.empty()) return;
  note(listen_trouble_, doors_.listen(true));
  for (const auto& each : addresses_) put_on(*each);
  retry_->set(clock_.now() + retry_after);
}

void VirtualService::put_on(Moving& moving) {
  moving.announce_trouble.clear();
  note(moving.trouble, moving.address.add());
  if (moving.trouble.empty()) log_.notice("virtual IP {}: is here", moving.address.text());
}

void VirtualService::try_again() {
  if (!serving_) return;
  if (!listen_trouble_.empty()) note(listen_trouble_, doors_.listen(true));
  for (const auto& each : addresses_) {
    if (!each->trouble.empty()) put_on(*each);
  }
  retry_->set(clock_.now() + retry_after);
}

awaitable<void> VirtualService::leave(Duration other_takes_it) {
  serving_ = false;
  retry_->cancel();
  if (addresses_.empty()) co_return;
  note(listen_trouble_, doors_.listen(false));
  co_await hush();
  const TimePoint patience = clock_.now() + other_takes_it;
  hushed_ = false;
  for (const auto& each : addresses_) {
    if (other_takes_it > Duration{}) static_cast<void>(co_await each->address.claimed_by_another(patience));
    const std::size_t dropped = co_await drop(*each);
    each->announce_trouble.clear();
    note(each->trouble, each->address.remove());
    if (each->trouble.empty()) log_.notice("virtual IP {}: has left connections={}", each->address.text(), dropped);
  }
}

// The same trouble again is not logged again.
void VirtualService::note(std::string& trouble, const std::expected<void, std::string>& done) {
  if (!done && done.error() != trouble) log_.error("virtual IP: {}", done.error());
  trouble = done ? std::string() : done.error();
}

void VirtualService::announce() {
  for (const auto& each : addresses_) each->address.announce();
}

std::string VirtualService::text() const {
  std::string all;
  for (const auto& each : addresses_) all += (all.empty() ? "" : ", ") + each->address.text();
  return all;
}

std::vector<std::string> VirtualService::alarms() const {
  std::vector<std::string> lines;
  const auto add = [&lines](const std::string& trouble) {
    if (!trouble.empty()) lines.push_back("virtual IP: " + trouble);
  };
  add(listen_trouble_);
  for (const auto& each : addresses_) {
    add(each->trouble);
    add(each->announce_trouble);
  }
  return lines;
}

}  // namespace mpath::target::cluster
