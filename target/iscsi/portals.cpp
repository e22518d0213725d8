#include "target/iscsi/portals.hpp"

#include <algorithm>
#include <list>

#include "base/task_group.hpp"
#include "target/iscsi/listeners.hpp"
#include "target/iscsi/login_connection.hpp"

namespace mpath::target {

namespace asio = boost::asio;

struct Portals::Impl {
  Impl(asio::any_io_executor executor, Clock& clock, SessionRegistry& registry, LoginLimits given, const Log& to)
      : control(std::move(executor)),
        limits(given),
        log(to),
        lockout(limits.failures_before_lockout, limits.lockout),
        services{clock, registry, limits, lockout, issued},
        listeners(control, clock, log.about("portals"), [this](UniqueFd socket) { welcome(std::move(socket)); }),
        logins(control) {}

  void welcome(UniqueFd socket);
  [[nodiscard]] bool make_room();
  [[nodiscard]] asio::awaitable<void> serve(std::shared_ptr<LoginConnection> login);

  // Constant after construction.
  asio::any_io_executor control;
  LoginLimits limits;
  Log log;

  LoginLockout lockout;
  IssuedChallenges issued;
  LoginServices services;
  std::shared_ptr<const TargetsView> targets = std::make_shared<TargetsView>();
  std::list<std::shared_ptr<LoginConnection>> half_open;
  Listeners listeners;
  TaskGroup logins;
};

void Portals::Impl::welcome(UniqueFd socket) {
  if (logins.closing() || !make_room()) return;  // which closes it
  auto login = std::make_shared<LoginConnection>(control, std::move(socket), services, targets, log);
  half_open.push_back(login);
  logins.spawn(serve(std::move(login)));
}

// The one that has been silent for longest gives way. A newcomer finds no room only when the registry has them all.
bool Portals::Impl::make_room() {
  if (half_open.size() < limits.half_open_max) return true;
  auto oldest = half_open.end();
  for (auto login = half_open.begin(); login != half_open.end(); ++login) {
    if (!(*login)->may_give_way()) continue;
    if (oldest == half_open.end() || (*login)->silent_since() < (*oldest)->silent_since()) oldest = login;
  }
  if (oldest == half_open.end()) return false;
  (*oldest)->give_way("too many logins at a time");  // its coroutine ends by that
  half_open.erase(oldest);
  return true;
}

asio::awaitable<void> Portals::Impl::serve(std::shared_ptr<LoginConnection> login) {
  struct Leave {
    Impl& impl;
    const std::shared_ptr<LoginConnection>& login;
    ~Leave() { std::erase(impl.half_open, login); }
  };
  const Leave leave{*this, login};
  co_await login->run();
}

Portals::Portals(asio::any_io_executor control, Clock& clock, SessionRegistry& registry, LoginLimits limits,
                 const Log& log)
    : impl_(std::make_unique<Impl>(std::move(control), clock, registry, limits, log)) {}

Portals::~Portals() = default;

void Portals::set_targets(std::shared_ptr<const TargetsView> targets) {
  impl_->targets = std::move(targets);
}

std::expected<void, std::string> Portals::listen(std::span<const Portal> portals) {
  return impl_->listeners.listen(portals);
}

std::vector<Portal> Portals::listening() const {
  return impl_->listeners.listening();
}

std::size_t Portals::half_open() const {
  return impl_->half_open.size();
}

void Portals::drop_local(const IpAddress& address) {
  for (const auto& login : impl_->half_open) {  // each leaves the list when its coroutine ends
    if (login->came_to(address)) login->reset("the address leaves this machine");
  }
}

asio::awaitable<void> Portals::close() {
  co_await impl_->listeners.close();
  co_await impl_->logins.close();
}

}  // namespace mpath::target
