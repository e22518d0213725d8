#include "initiator/session_preparation.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "initiator/initiator_name.hpp"

namespace mpath {
namespace {

std::unexpected<LoginFailure> failed(ExitCode code, std::string text) { return std::unexpected(LoginFailure{code, std::move(text)}); }

class ResolverCategory final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "resolver"; }
  [[nodiscard]] std::string message(int code) const override { return ::gai_strerror(code); }
};

const std::error_category& resolver_category() noexcept {
  static const ResolverCategory category;
  return category;
}

std::string with_scope(std::string address, const std::string& net_ifacename) {
  in6_addr parsed{};
  const bool bare = address.find('%') == std::string::npos && ::inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
  if (bare && IN6_IS_ADDR_LINKLOCAL(&parsed) && !net_ifacename.empty()) address += "%" + net_ifacename;
  return address;
}

}  // namespace

Result<std::vector<std::string>> numeric_addresses(const std::string& host, const std::string& net_ifacename) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* list = nullptr;
  const std::string asked = with_scope(host, net_ifacename);
  if (const int error = ::getaddrinfo(asked.c_str(), nullptr, &hints, &list); error != 0) {
    return failure(std::error_code(error, resolver_category()));
  }
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(list, &::freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* one = list; one != nullptr; one = one->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) != 0) continue;
    std::string address = with_scope(text.data(), net_ifacename);
    if (std::ranges::find(addresses, address) == addresses.end()) addresses.push_back(std::move(address));
  }
  if (addresses.empty()) return failure(std::error_code(EAI_NONAME, resolver_category()));
  return addresses;
}

std::expected<db::NodeRecord, LoginFailure> read_node(const PreparationSources& sources, const db::NodeKey& key) {
  const auto store = sources.open_store();
  if (!store) return failed(ExitCode::database_failure, fmt::format("the database cannot be opened: {}", store.error().message()));
  auto record = (*store)->node(key);
  if (record) return std::move(*record);
  const bool missing = record.error() == db::StoreErrc::not_found;
  return failed(missing ? ExitCode::no_objects_found : ExitCode::database_failure,
                fmt::format("the node record cannot be read: {}", record.error().message()));
}

std::expected<PreparedSession, LoginFailure> prepare_session(const PreparationSources& sources, const db::NodeKey& key, unsigned index) {
  const auto record = read_node(sources, key);
  if (!record) return std::unexpected(record.error());
  const auto name = load_initiator_name(sources.layout.initiator_name());
  if (!name) {
    return failed(ExitCode::invalid_argument, fmt::format("{}: {}", sources.layout.initiator_name().string(), name.error().message()));
  }

  PreparedSession prepared;
  prepared.iface = make_iface_spec(record->settings);
  prepared.iface.name = key.iface;
  const auto binding = resolve(prepared.iface);
  if (!binding) return failed(ExitCode::connection_failure, describe(prepared.iface, binding.error()));
  const auto addresses = numeric_addresses(key.address, binding->net_ifacename);
  if (!addresses) return failed(ExitCode::connection_failure, fmt::format("cannot resolve {}: {}", key.address, addresses.error().message()));

  auto config = node_config(*record, {.initiator_name = *name, .address = addresses->front(), .binding = *binding, .index = index,
                                       .instance = sources.instance});
  if (!config) return failed(ExitCode::invalid_argument, config.error());
  prepared.config = std::move(*config);
  return prepared;
}

}  // namespace mpath
