#include "ifaces/address_reach.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>

namespace mpath {
namespace {

// The same address may be written in several ways.
boost::asio::ip::address parsed(const std::string& text) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(text, error);
  if (error || !address.is_v6()) return address;
  auto v6 = address.to_v6();
  v6.scope_id(0);
  return v6;
}

}  // namespace

AddressReach::AddressReach(boost::asio::io_context& context, Clock& clock, AddressReachOptions options)
    : options_(std::move(options)), clock_(clock), monitor_(context, *this) {
  alarm_ = clock_.make_alarm([this] { become(false); });
}

AddressReach::~AddressReach() = default;

error_code AddressReach::start() {
  const bool anywhere =
      std::ranges::any_of(options_.addresses, [](const std::string& each) { return parsed(each).is_unspecified(); });
  if (anywhere || options_.addresses.empty()) return {};
  if (const error_code error = monitor_.start()) return error;
  watching_ = true;
  return {};
}

void AddressReach::stop() {
  watching_ = false;
  alarm_->cancel();
  monitor_.stop();
}

void AddressReach::on_link(const LinkEvent&) {
  if (!watching_) return;
  if (any_cable_in()) {
    doubtful_ = false;
    alarm_->cancel();
    become(true);
  } else if (reachable_ && !doubtful_) {
    doubtful_ = true;
    alarm_->set(clock_.now() + options_.settle);
  }
}

bool AddressReach::any_cable_in() const {
  const std::vector<Nic> nics = monitor_.nics();
  return std::ranges::any_of(nics, [this](const Nic& nic) {
    return nic.carrier() && std::ranges::any_of(nic.addresses, [this](const NicAddress& there) {
             return std::ranges::any_of(options_.addresses,
                                        [&](const std::string& ours) { return parsed(ours) == parsed(there.address); });
           });
  });
}

void AddressReach::become(bool reachable) {
  doubtful_ = false;
  if (reachable == reachable_) return;
  reachable_ = reachable;
  if (options_.on_change) options_.on_change(reachable);
}

}  // namespace mpath
