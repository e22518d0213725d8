// Section `cluster`, and what the other sections say about the pair.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "target/config/config_builder.hpp"

namespace mpath::target {
namespace {

using mpath::replication::Member;
using mpath::replication::name;

constexpr Member data_nodes[] = {Member::a, Member::b};

Member member_of(std::string_view word) {
  return word == "b" ? Member::b : Member::a;
}

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& letter : low) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return low;
}

// With or without its domain.
bool same_host(std::string_view configured, std::string_view ours) {
  const auto shortened = [](std::string_view host) { return lower(host.substr(0, host.find('.'))); };
  if (configured.empty() || ours.empty()) return false;
  const bool both_whole = configured.find('.') != configured.npos && ours.find('.') != ours.npos;
  return both_whole ? lower(configured) == lower(ours) : shortened(configured) == shortened(ours);
}

// The words between any of `separators`, also inside of quotes: the settings in force are shown with them.
std::vector<std::string> split(std::string_view text, std::string_view separators) {
  std::vector<std::string> items;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    if (end > at) items.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return items;
}

constexpr std::string_view etcd_scheme = "etcd://";

bool usable(const Portal& portal) {
  return portal.port != 0 && portal.address != "0.0.0.0" && portal.address != "::";
}

}  // namespace

replication::NodeOptions node_options(const ClusterConfig& cluster) {
  return {.self = cluster.self,
          .witness = cluster.has_witness(),
          .on_peer_loss = cluster.on_peer_loss,
          .keepalive = cluster.keepalive,
          .deadtime = cluster.deadtime,
          .initdead = cluster.initdead,
          .lease = cluster.lease,
          .drift = cluster.drift_percent / 100.0};
}

void ConfigBuilder::build_cluster(const Item& item) {
  const SettingValues& values = values_of(item);
  if (result_.config.cluster)
    return complain(item.section.origin,
                    fmt::format("a node is in one pair: cluster {} stands at {} already", result_.config.cluster->name,
                                result_.config.cluster->origin.text()));
  ClusterConfig cluster{.name = item.section.label, .origin = item.section.origin};
  if (!valid_unit_name(cluster.name))
    complain(
        cluster.origin,
        fmt::format("\"{}\" is no name for a cluster: letters, digits, . _ - and at most 64 of them", cluster.name));
  cluster.self = which_node(item);
  cluster.key_file = values.text("key_file");
  if (cluster.key_file.empty()) {
    complain(cluster.origin,
             fmt::format("cluster {} needs a key_file, the same on all members, made for example with: (umask 077; "
                         "openssl rand -hex 32 > /etc/mptarget/cluster.key)",
                         cluster.name));
  } else if (const auto key = read_secret_(cluster.key_file); !key) {
    complain(values.origin("key_file"), key.error());
  }
  build_links(item, cluster);
  build_times(values, cluster);
  build_peer_loss(item, cluster);
  for (const ConfigEntry& entry : item.section.entries) {
    if (entry.key == "virtual_ip") build_virtual_ip(entry, cluster);
  }
  if (values.is_set("preferred")) cluster.preferred = member_of(values.text("preferred"));
  cluster.auto_failback = values.text("auto_failback") == "off" ? AutoFailback::off : AutoFailback::on;
  if (cluster.auto_failback == AutoFailback::on && !cluster.preferred)
    complain(values.origin("auto_failback"), "fail back to whom? preferred a or preferred b is needed");
  build_resync(values, cluster);
  using mpath::replication::StreamAuth;
  for (const StreamAuth auth : {StreamAuth::none, StreamAuth::hmac, StreamAuth::tls}) {
    if (values.text("stream_auth") == name(auth)) cluster.stream_auth = auth;
  }
  cluster.fingerprint = fingerprint(values);
  result_.config.cluster = std::move(cluster);
}

Member ConfigBuilder::which_node(const Item& item) {
  const SettingValues& values = values_of(item);
  if (choice_.node) return *choice_.node;
  if (values.is_set("node")) return member_of(values.text("node"));
  const bool is_a = same_host(values.text("host_a"), choice_.host_name);
  const bool is_b = same_host(values.text("host_b"), choice_.host_name);
  if (is_a != is_b) return is_a ? Member::a : Member::b;
  if (is_a)
    complain(values.origin("host_b"), fmt::format("host_a and host_b both are this host, {}", choice_.host_name));
  else
    complain(
        item.section.origin,
        fmt::format("which node of cluster {} is this one? Start mptargetd with --node a or --node b, or give host_a "
                    "and host_b the names of the hosts{}",
                    item.section.label,
                    choice_.host_name.empty() ? "" : fmt::format(" (this one is {})", choice_.host_name)));
  return Member::a;
}

std::vector<Portal> ConfigBuilder::addresses(const Item& item, std::string_view key, std::uint16_t port) {
  std::vector<Portal> all;
  for (const ConfigEntry& entry : item.section.entries) {
    if (entry.key != key || (key == "witness" && entry.value == "none")) continue;
    for (std::string text : split(entry.value, ", \t")) {
      if (key == "witness" && text.starts_with(etcd_scheme)) text.erase(0, etcd_scheme.size());
      const auto address = parse_portal(text, port);
      if (!address)
        complain(entry.origin, fmt::format("{}: {}", key, address.error()));
      else if (!usable(*address))
        complain(entry.origin, fmt::format("{}: the others have to reach {}: a certain address and port", key, text));
      else
        all.push_back(*address);
    }
  }
  return all;
}

void ConfigBuilder::build_links(const Item& item, ClusterConfig& cluster) {
  const SettingValues& values = values_of(item);
  const std::size_t problems = result_.problems.size();
  cluster.addresses = {addresses(item, "address_a", cluster_port), addresses(item, "address_b", cluster_port)};
  const auto in_etcd = [](const ConfigEntry& entry) {
    return entry.key == "witness" && entry.value.starts_with(etcd_scheme);
  };
  if (std::ranges::any_of(item.section.entries, in_etcd)) {
    cluster.etcd = addresses(item, "witness", etcd_port);
  } else {
    cluster.witness = addresses(item, "witness", cluster_port);
  }
  if (result_.problems.size() != problems) return;
  const std::size_t links = cluster.addresses[0].size();
  if (links == 0 || cluster.addresses[1].empty())
    return complain(cluster.origin, fmt::format("cluster {} needs address_a and address_b", cluster.name));
  if (cluster.addresses[1].size() != links)
    return complain(values.origin("address_b"),
                    fmt::format("node a has {} addresses and node b {}: each link has one of both", links,
                                cluster.addresses[1].size()));
  if (links > cluster_links_max)
    complain(values.origin("address_a"), fmt::format("more than {} links", cluster_links_max));
  if (cluster.witness.size() > links)
    complain(values.origin("witness"),
             fmt::format("the witness has {} addresses on {} links", cluster.witness.size(), links));
  if (links == 1)
    warn(values.origin("address_a"),
         "one link only: a pulled cable looks like a dead node; a second link makes it harmless");
  std::vector<Portal> seen;
  for (const auto& [key, list] :
       {std::pair("address_a", &cluster.addresses[0]), std::pair("address_b", &cluster.addresses[1]),
        std::pair("witness", &cluster.witness), std::pair("witness", &cluster.etcd)}) {
    for (const Portal& address : *list) {
      if (std::ranges::find(seen, address) != seen.end())
        complain(values.origin(key), fmt::format("{} stands here twice", format_portal(address)));
      seen.push_back(address);
    }
  }
}

void ConfigBuilder::build_times(const SettingValues& values, ClusterConfig& cluster) {
  cluster.keepalive = values.duration("keepalive");
  cluster.warntime = values.duration("warntime");
  cluster.deadtime = values.duration("deadtime");
  cluster.initdead = values.duration("initdead");
  cluster.lease = values.is_set("lease") ? values.duration("lease") : cluster.deadtime * 2 / 3;
  cluster.drift_percent = static_cast<unsigned>(values.integer("drift"));
  const auto origin = [&](const char* key) { return values.is_set(key) ? values.origin(key) : cluster.origin; };
  const auto shorter = [&](const char* less, std::chrono::milliseconds a, const char* more,
                           std::chrono::milliseconds b) {
    if (a >= b)
      complain(origin(values.is_set(less) ? less : more),
               fmt::format("{} ({}) must be shorter than {} ({})", less, format_duration(a), more, format_duration(b)));
  };
  shorter("keepalive", cluster.keepalive, "warntime", cluster.warntime);
  shorter("warntime", cluster.warntime, "deadtime", cluster.deadtime);
  shorter("lease", cluster.lease, "deadtime", cluster.deadtime);
  if (cluster.initdead < cluster.deadtime)
    complain(origin("initdead"), fmt::format("initdead ({}) must not be shorter than deadtime ({})",
                                             format_duration(cluster.initdead), format_duration(cluster.deadtime)));
  // One lost message must not end a lease.
  if (cluster.lease < cluster.keepalive * 2)
    complain(origin(values.is_set("lease") ? "lease" : "keepalive"),
             fmt::format("lease ({}) must be at least twice keepalive ({})", format_duration(cluster.lease),
                         format_duration(cluster.keepalive)));
}

void ConfigBuilder::build_peer_loss(const Item& item, ClusterConfig& cluster) {
  const SettingValues& values = values_of(item);
  const std::string wish = values.text("on_peer_loss");
  cluster.on_peer_loss = wish == "fence"      ? replication::PeerLoss::fence
                         : wish == "continue" ? replication::PeerLoss::proceed
                                              : replication::PeerLoss::freeze;
  cluster.fence_timeout = values.duration("fence_timeout");
  for (const ConfigEntry& entry : item.section.entries) {
    if (entry.key == "fence") cluster.fence = entry.words;
  }
  if (cluster.has_witness()) {
    if (values.is_set("on_peer_loss"))
      warn(values.origin("on_peer_loss"), "on_peer_loss has no effect with a witness: the majority decides");
    cluster.on_peer_loss = replication::PeerLoss::freeze;
  }
  if (cluster.on_peer_loss == replication::PeerLoss::fence) {
    if (cluster.fence.empty() || !cluster.fence.front().starts_with('/'))
      complain(values.origin(cluster.fence.empty() ? "on_peer_loss" : "fence"),
               "on_peer_loss fence needs fence /PATH/OF/A/COMMAND");
  } else {
    if (values.is_set("fence"))
      warn(values.origin("fence"), "fence has no effect: it goes with on_peer_loss fence, without a witness");
    cluster.fence.clear();
  }
  if (cluster.on_peer_loss == replication::PeerLoss::proceed)
    warn(values.origin("on_peer_loss"),
         "on_peer_loss continue: when all links are cut, both nodes go on, and one side's writes will be lost");
}

void ConfigBuilder::build_virtual_ip(const ConfigEntry& entry, ClusterConfig& cluster) {
  const auto wrong = [&](std::string_view why) {
    complain(entry.origin, fmt::format("virtual_ip takes ADDRESS/PREFIX [dev INTERFACE]: {}", why));
  };
  const std::vector<std::string> words = split(entry.value, " \t");
  if (words.size() != 1 && (words.size() != 3 || words[1] != "dev"))
    return wrong(fmt::format("\"{}\" is something else", entry.value));
  const std::string& text = words[0];
  const std::size_t slash = text.find('/');
  if (slash == text.npos) return wrong("the prefix is missing");
  VirtualIp ip{.address = text.substr(0, slash), .origin = entry.origin};
  unsigned char bytes[16];
  const bool v4 = ::inet_pton(AF_INET, ip.address.c_str(), bytes) == 1;
  if (!v4 && ::inet_pton(AF_INET6, ip.address.c_str(), bytes) != 1)
    return wrong(fmt::format("\"{}\" is no address", ip.address));
  const auto prefix = parse_integer(text.substr(slash + 1), 1, v4 ? 32 : 128);
  if (!prefix) return wrong(prefix.error());
  ip.prefix = static_cast<unsigned>(*prefix);
  if (words.size() == 3) ip.interface = words[2];
  if (ip.interface.size() > 15) return wrong(fmt::format("\"{}\" is no name of an interface", ip.interface));
  for (const VirtualIp& other : cluster.virtual_ips) {
    if (other.address == ip.address)
      return complain(entry.origin, fmt::format("{} stands at {} already", ip.address, other.origin.text()));
  }
  for (const auto* list : {&cluster.addresses[0], &cluster.addresses[1], &cluster.witness}) {
    if (std::ranges::find(*list, ip.address, &Portal::address) != list->end())
      return complain(entry.origin, fmt::format("{} is a member's own address: a virtual IP moves", ip.address));
  }
  cluster.virtual_ips.push_back(std::move(ip));
}

void ConfigBuilder::build_resync(const SettingValues& values, ClusterConfig& cluster) {
  cluster.resync_bytes_per_second_max = values.size("resync_rate_max");
  cluster.resync_bytes_per_second_min = values.size("resync_rate_min");
  cluster.verify_interval = values.duration("verify_interval");
  cluster.disk_timeout = values.duration("disk_timeout");
  const std::uint64_t most = cluster.resync_bytes_per_second_max;
  if (most != 0 && cluster.resync_bytes_per_second_min > most) {
    if (values.is_set("resync_rate_min"))
      complain(values.origin("resync_rate_min"), "resync_rate_min is more than resync_rate_max");
    cluster.resync_bytes_per_second_min = most;
  }
  const std::string protocol = values.text("protocol");
  using mpath::replication::Protocol;
  cluster.protocol = protocol == "A" ? Protocol::a : protocol == "B" ? Protocol::b : Protocol::c;
  cluster.send_window_bytes = values.size("send_window");
  if (cluster.protocol == Protocol::a)
    warn(values.origin("protocol"),
         fmt::format("protocol A: a takeover may lose the last answered writes that were not flushed, {} of each lu at "
                     "most",
                     format_size(cluster.send_window_bytes)));
  if (cluster.protocol == Protocol::c && values.is_set("send_window"))
    warn(values.origin("send_window"), "send_window has no effect with protocol C");
}

void ConfigBuilder::take_node(const SettingValues& values, PortalGroupConfig& group) {
  const auto& cluster = result_.config.cluster;
  group.is_virtual = values.yes_no("virtual");
  for (const char* key : {"node", "virtual"}) {
    if (!cluster && values.is_set(key))
      complain(values.origin(key), fmt::format("{} belongs to a pair: there is no section cluster", key));
  }
  if (!cluster) return;
  if (group.is_virtual && (values.is_set("node") || group.peer))
    complain(values.origin("virtual"), "a group on the virtual IP is of both nodes: not with node or peer");
  if (values.is_set("node")) {
    if (group.peer) complain(values.origin("peer"), "node says whose the group is: not peer");
    group.node = member_of(values.text("node"));
    group.peer = *group.node != cluster->self;
  } else if (!group.is_virtual && !group.peer) {
    complain(group.origin, fmt::format("portal_group {} of a pair: node a, node b, or virtual yes?", group.tag));
  }
}

void ConfigBuilder::take_replicated(const SettingValues& values, LuConfig& unit) {
  unit.replicated = values.yes_no("replicated");
  if (!unit.replicated) return;
  const Origin origin = values.origin("replicated");
  if (!result_.config.cluster) complain(origin, "replicated yes belongs to a pair: there is no section cluster");
  if (unit.store.kind != StoreKind::file && unit.store.kind != StoreKind::block)
    complain(origin, "a replicated lu is of type file or block: what both nodes have must survive them");
  if (unit.store.read_only)
    complain(values.origin("read_only"), "a replicated lu cannot be read_only: its copy could not be filled");
  if (unit.unit.removable)
    complain(values.origin("removable"), "a replicated lu cannot be removable: its medium is there on both nodes");
  if (!values.is_set("uuid"))
    complain(origin, fmt::format("lu {} needs its identity on both nodes; a fresh one is: uuid {}", unit.name,
                                 format_uuid(make_uuid())));
}

void ConfigBuilder::cross_check_cluster() {
  const auto& cluster = result_.config.cluster;
  if (!cluster) return;
  const auto& units = result_.config.units;
  if (std::ranges::none_of(units, &LuConfig::replicated))
    warn(cluster->origin, fmt::format("no lu of cluster {} is replicated: replicated yes makes one", cluster->name));
  bool any_virtual = false;
  for (const PortalGroupConfig& group : result_.config.portal_groups) {
    if (!group.is_virtual) continue;
    any_virtual = true;
    for (const Portal& portal : group.portals) {
      if (std::ranges::find(cluster->virtual_ips, portal.address, &VirtualIp::address) == cluster->virtual_ips.end())
        complain(group.origin, fmt::format("portal_group {} is virtual, and {} is no virtual_ip of cluster {}",
                                           group.tag, portal.address, cluster->name));
    }
  }
  if (!any_virtual && !cluster->virtual_ips.empty())
    warn(cluster->origin, "no portal_group is virtual: nothing is served on the virtual IP");
  for (const Member member : data_nodes) {
    const bool has_group =
        std::ranges::any_of(result_.config.portal_groups, [member](const auto& group) { return group.node == member; });
    if (!has_group && !any_virtual)
      complain(cluster->origin,
               fmt::format("node {0} has no portal_group: portal_group TAG {{ portal ADDRESS; node {0} "
                           "}}, or one on the virtual IP",
                           name(member)));
  }
}

}  // namespace mpath::target
