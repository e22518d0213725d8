#include "initiator/mpathadm_discoverer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "ifaces/iface_spec.hpp"
#include "initiator/session_errors.hpp"
#include "initiator/session_preparation.hpp"

namespace mpath::adm {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds connect_limit{5};

std::string value_of(const db::Settings& settings, const std::string& name) {
  const auto at = settings.find("discovery.sendtargets." + name);
  return at == settings.end() ? std::string() : at->second;
}

seconds time_of(const db::Settings& settings, const std::string& name, int fallback) {
  const std::string value = value_of(settings, name);
  int number = fallback;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return seconds(std::max(1, number));
}

std::unexpected<Failure> unmet(std::string text) { return std::unexpected(Failure{ExitCode::invalid_argument, std::move(text)}); }

}  // namespace

Outcome<DiscoveryConfig> discovery_config(const DiscoveryRequest& request) {
  const db::Settings& settings = request.record.settings;
  DiscoveryConfig config;
  SessionConfig& session = config.session;
  session.initiator_name = request.initiator_name;
  session.port = request.record.key.port;
  session.login_timeout = time_of(settings, "timeo.login_timeout", 15);
  session.connect_timeout = std::min<milliseconds>(connect_limit, session.login_timeout);
  config.answer_timeout = time_of(settings, "timeo.active_timeout", 30);
  session.isid = isid_of({.target_name = "discovery", .address = request.record.key.address, .port = session.port, .iface = request.iface.name}, 0);
  session.chap_required = value_of(settings, "auth.authmethod") == "CHAP";
  session.chap = {value_of(settings, "auth.username"), value_of(settings, "auth.password")};
  session.chap_in = {value_of(settings, "auth.username_in"), value_of(settings, "auth.password_in")};
  const bool out = !session.chap.name.empty();
  const bool in = !session.chap_in.name.empty();
  if (session.chap_required && !out) return unmet("discovery.sendtargets.auth.authmethod = CHAP without a username");
  if (!session.chap.secret.empty() != out) return unmet("discovery.sendtargets.auth: username and password go together");
  if (!session.chap_in.secret.empty() != in) return unmet("discovery.sendtargets.auth: username_in and password_in go together");
  if (in && !out) return unmet("discovery.sendtargets.auth.username_in without username");
  return config;
}

Outcome<std::vector<db::NodeAddress>> ask_portal(const DiscoveryRequest& request) {
  auto config = discovery_config(request);
  if (!config) return std::unexpected(config.error());
  IfaceSpec spec = make_iface_spec(request.iface.settings);
  spec.name = request.iface.name;
  const auto binding = resolve(spec);
  if (!binding) return std::unexpected(Failure{ExitCode::connection_failure, describe(spec, binding.error())});
  config->session.binding = *binding;

  const std::string& host = request.record.key.address;
  const auto addresses = numeric_addresses(host, binding->net_ifacename);
  if (!addresses) return std::unexpected(Failure{ExitCode::connection_failure, fmt::format("cannot resolve {}: {}", host, addresses.error().message())});
  std::optional<Failure> first;
  for (const auto& address : *addresses) {
    config->session.address = address;
    const auto found = mpath::discover(*config);
    if (found) {
      std::vector<db::NodeAddress> nodes;
      for (const auto& portal : *found) {
        nodes.push_back({.target_name = portal.target_name, .address = portal.address, .port = portal.port, .tpgt = portal.tpgt});
      }
      return nodes;
    }
    if (!first) first = Failure{exit_code_of(found.error().end), found.error().text};
  }
  return std::unexpected(*first);
}

}  // namespace mpath::adm
