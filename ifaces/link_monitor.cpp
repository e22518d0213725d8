#include "ifaces/link_monitor.hpp"

#include <libudev.h>

#include <boost/asio/error.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <map>
#include <utility>

#include "base/check.hpp"
#include "ifaces/link_table.hpp"
#include "ifaces/route_socket.hpp"

namespace mpath {
namespace {

using boost::asio::posix::stream_descriptor;

struct FreeUdev {
  void operator()(udev* context) const { udev_unref(context); }
  void operator()(udev_monitor* monitor) const { udev_monitor_unref(monitor); }
  void operator()(udev_device* device) const { udev_device_unref(device); }
};

// udev's own announcements of net devices: they come when its rules, which may rename, have run.
struct UdevNet {
  std::unique_ptr<udev, FreeUdev> context;
  std::unique_ptr<udev_monitor, FreeUdev> monitor;

  // Empty when udev cannot be reached; rtnetlink alone does then.
  static UdevNet open() {
    UdevNet self;
    self.context.reset(udev_new());
    if (!self.context) return self;
    self.monitor.reset(udev_monitor_new_from_netlink(self.context.get(), "udev"));
    if (!self.monitor) return self;
    if (udev_monitor_filter_add_match_subsystem_devtype(self.monitor.get(), "net", nullptr) < 0 ||
        udev_monitor_enable_receiving(self.monitor.get()) < 0) {
      self.monitor.reset();
    }
    return self;
  }
  // Takes what waits; true when there was an event.
  [[nodiscard]] bool drain() const {
    bool any = false;
    while (std::unique_ptr<udev_device, FreeUdev>(udev_monitor_receive_device(monitor.get()))) any = true;
    return any;
  }
};

}  // namespace

// Kept alive by its pending handlers; `stopped_` cuts them off from the listener.
class LinkMonitor::Watch : public std::enable_shared_from_this<Watch> {
 public:
  Watch(boost::asio::io_context& context, LinkListener& listener, Options options)
      : listener_(listener), options_(options), route_wait_(context), udev_wait_(context) {}
  ~Watch() { stop(); }

  error_code start() {
    CHECK(!socket_ && !stopped_);
    RouteSocket::Options options{.listen = true, .receive_buffer_bytes = options_.receive_buffer_bytes};
    auto socket = RouteSocket::open(options);
    if (!socket) return socket.error();
    if (const error_code error = socket->dump(table_)) return error;
    socket_.emplace(*std::move(socket));
    route_wait_.assign(socket_->fd());
    udev_ = UdevNet::open();
    if (udev_.monitor) udev_wait_.assign(udev_monitor_get_fd(udev_.monitor.get()));
    boost::asio::post(route_wait_.get_executor(), [self = shared_from_this()] {
      self->note_all(LinkEvent::Cause::initial);
      self->tell();
      self->wait_for_route();
      self->wait_for_udev();
    });
    return {};
  }

  void stop() {
    stopped_ = true;
    // The descriptors belong to libnl and libudev: let go of them without closing.
    if (route_wait_.is_open()) route_wait_.release();
    if (udev_wait_.is_open()) udev_wait_.release();
    socket_.reset();
    udev_ = {};
  }

  [[nodiscard]] const LinkTable& table() const { return table_; }
  [[nodiscard]] unsigned resyncs() const { return resyncs_; }

 private:
  struct Told {
    std::string name;
    LinkState state;
    friend bool operator==(const Told&, const Told&) = default;
  };

  static LinkState state_of(const Nic& nic) {
    return {.present = true, .carrier = nic.carrier(), .has_address = nic.has_address()};
  }

  void wait_for_route() {
    if (stopped_) return;
    route_wait_.async_wait(stream_descriptor::wait_read,
                           [self = shared_from_this()](const boost::system::error_code& error) {
                             if (error || self->stopped_) return;
                             self->read_route();
                           });
  }

  void read_route() {
    const error_code error = socket_->drain(table_, [this](unsigned index) { note(index, LinkEvent::Cause::changed); });
    if (error.value() != EAGAIN) {  // ENOBUFS, or a failure that only a new dump can make good
      ++resyncs_;
      return read_anew(LinkEvent::Cause::resync, &Watch::wait_for_route);
    }
    tell();
    wait_for_route();
  }

  void read_anew(LinkEvent::Cause cause, void (Watch::*next)()) {
    if (stopped_) return;
    if (!socket_->dump(table_)) {
      note_all(cause);
      tell();
      return (this->*next)();
    }
    // Too much was going on: let others run, then try again.
    boost::asio::post(route_wait_.get_executor(),
                      [self = shared_from_this(), cause, next] { self->read_anew(cause, next); });
  }

  void wait_for_udev() {
    if (stopped_ || !udev_.monitor) return;
    udev_wait_.async_wait(stream_descriptor::wait_read,
                          [self = shared_from_this()](const boost::system::error_code& error) {
                            if (error || self->stopped_) return;
                            if (!self->udev_.drain()) return self->wait_for_udev();
                            self->read_anew(LinkEvent::Cause::changed, &Watch::wait_for_udev);
                          });
  }

  // Devices that went first, so that one that came back under its old name ends as present.
  void note_all(LinkEvent::Cause cause) {
    std::vector<unsigned> gone;
    for (const auto& [index, told] : told_) {
      if (table_.find(index) == nullptr) gone.push_back(index);
    }
    for (const unsigned index : gone) note(index, cause);
    for (const Nic& nic : table_.nics()) note(nic.index, cause);
  }

  // Queues what is new about one device.
  void note(unsigned index, LinkEvent::Cause cause) {
    const auto before = told_.find(index);
    const Nic* nic = table_.find(index);
    if (nic == nullptr) {
      if (before == told_.end()) return;
      const std::string name = before->second.name;
      told_.erase(before);
      return queue({.net_ifacename = name, .index = index, .state = {}, .cause = cause});
    }
    const Told now{.name = nic->name, .state = state_of(*nic)};
    if (before == told_.end()) {
      told_.emplace(index, now);
      return queue({.net_ifacename = now.name, .index = index, .state = now.state, .cause = cause});
    }
    if (before->second == now) return;
    const std::string old_name = std::exchange(before->second, now).name;
    if (old_name != now.name) {
      cause = LinkEvent::Cause::renamed;
      queue({.net_ifacename = old_name, .index = index, .state = {}, .cause = cause});
    }
    queue({.net_ifacename = now.name, .index = index, .state = now.state, .cause = cause});
  }

  void queue(LinkEvent event) { untold_.push_back(std::move(event)); }

  // The listener may stop or destroy the monitor: the handler that brought us here keeps this object alive.
  void tell() {
    const std::vector<LinkEvent> events = std::exchange(untold_, {});
    for (const LinkEvent& event : events) {
      if (!stopped_) listener_.on_link(event);
    }
  }

  LinkListener& listener_;
  const Options options_;
  bool stopped_ = false;
  LinkTable table_;
  std::map<unsigned, Told> told_;  // what the listener knows, or is in untold_
  std::vector<LinkEvent> untold_;
  unsigned resyncs_ = 0;
  std::optional<RouteSocket> socket_;
  UdevNet udev_;
  stream_descriptor route_wait_;
  stream_descriptor udev_wait_;
};

std::string_view name_of(LinkEvent::Cause cause) {
  switch (cause) {
    case LinkEvent::Cause::initial:
      return "initial";
    case LinkEvent::Cause::changed:
      return "changed";
    case LinkEvent::Cause::renamed:
      return "renamed";
    case LinkEvent::Cause::resync:
      return "resync";
  }
  return "unknown";
}

LinkMonitor::LinkMonitor(boost::asio::io_context& context, LinkListener& listener)
    : LinkMonitor(context, listener, Options{}) {}
LinkMonitor::LinkMonitor(boost::asio::io_context& context, LinkListener& listener, Options options)
    : watch_(std::make_shared<Watch>(context, listener, options)) {}
LinkMonitor::~LinkMonitor() {
  watch_->stop();
}

error_code LinkMonitor::start() {
  return watch_->start();
}
void LinkMonitor::stop() {
  watch_->stop();
}

LinkState LinkMonitor::link_state(const std::string& net_ifacename) const {
  const Nic* nic = watch_->table().find(net_ifacename);
  if (nic == nullptr) return {};
  return {.present = true, .carrier = nic->carrier(), .has_address = nic->has_address()};
}
std::vector<Nic> LinkMonitor::nics() const {
  return watch_->table().nics();
}
unsigned LinkMonitor::resyncs() const {
  return watch_->resyncs();
}

}  // namespace mpath
