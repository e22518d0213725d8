#include "target/cluster/status_json.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace mpath::target::cluster {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr Member members[] = {Member::a, Member::b, Member::witness};

Member member_of(const std::string& word) {
  for (const Member member : members) {
    if (word == name(member)) return member;
  }
  return Member::a;
}

Protocol protocol_of(const std::string& word) {
  return word == "A" ? Protocol::a : word == "B" ? Protocol::b : Protocol::c;
}

json members_json(MemberSet set) {
  json names = json::array();
  for (const Member member : {Member::a, Member::b}) {
    if (set.has(member)) names.push_back(name(member));
  }
  return names;
}

MemberSet members_from(const json& names) {
  MemberSet set;
  for (const json& member : names) set.add(member_of(member.get<std::string>()));
  return set;
}

json view_json(const View& view) {
  return {{"number", view.number}, {"primary", name(view.primary)}, {"in_sync", members_json(view.in_sync)}};
}

View view_from(const json& from) {
  View view{.number = from.value("number", std::uint64_t{0}),
            .primary = member_of(from.value("primary", std::string("a")))};
  view.in_sync = members_from(from.value("in_sync", json::array()));
  return view;
}

json link_json(const LinkStatus& link) {
  return {{"to", name(link.to)},
          {"local", link.local},
          {"remote", link.remote},
          {"heard", link.heard},
          {"silent_ms", link.silent.count()},
          {"sent", link.sent},
          {"received", link.received},
          {"refused", link.refused}};
}

LinkStatus link_from(const json& from) {
  LinkStatus link{.to = member_of(from.value("to", std::string("a")))};
  link.local = from.value("local", std::string());
  link.remote = from.value("remote", std::string());
  link.heard = from.value("heard", false);
  link.silent = milliseconds(from.value("silent_ms", std::int64_t{0}));
  link.sent = from.value("sent", std::uint64_t{0});
  link.received = from.value("received", std::uint64_t{0});
  link.refused = from.value("refused", std::uint64_t{0});
  return link;
}

json copy_json(const CopyStatus& copy) {
  json all{{"lu", copy.unit},
           {"connection", copy.connection},
           {"local_disk", copy.local_disk},
           {"peer_disk", copy.peer_disk},
           {"size", copy.size_bytes},
           {"dirty", copy.dirty_bytes},
           {"to_fill", copy.to_fill_bytes},
           {"fill_total", copy.fill_total_bytes},
           {"fill_rate", static_cast<std::uint64_t>(copy.fill_bytes_per_second)},
           {"fill_eta_s", nullptr},
           {"sent", copy.sent_bytes},
           {"received", copy.received_bytes},
           {"read", copy.read_bytes},
           {"written", copy.written_bytes},
           {"pending", copy.pending},
           {"protocol", std::string(1, letter(copy.protocol))},
           {"protocol_here", std::string(1, letter(copy.protocol_here))},
           {"protocol_there", nullptr},
           {"unconfirmed", copy.unconfirmed_bytes},
           {"links", json::array()},
           {"links_lost", copy.links_lost},
           {"sent_again", copy.sent_again},
           {"trouble", copy.trouble}};
  for (const StreamLinkStatus& link : copy.links) {
    all["links"].push_back({{"local", link.local},
                            {"remote", link.remote},
                            {"up", link.up},
                            {"auth", link.auth},
                            {"sent", link.sent_bytes},
                            {"received", link.received_bytes}});
  }
  if (copy.protocol_there) all["protocol_there"] = std::string(1, letter(*copy.protocol_there));
  if (copy.fill_eta) all["fill_eta_s"] = copy.fill_eta->count();
  return all;
}

CopyStatus copy_from(const json& from) {
  CopyStatus copy;
  copy.unit = from.value("lu", std::string());
  copy.connection = from.value("connection", std::string());
  copy.local_disk = from.value("local_disk", std::string());
  copy.peer_disk = from.value("peer_disk", std::string());
  const std::pair<const char*, std::uint64_t*> counters[] = {
      {"size", &copy.size_bytes},       {"dirty", &copy.dirty_bytes},
      {"to_fill", &copy.to_fill_bytes}, {"fill_total", &copy.fill_total_bytes},
      {"sent", &copy.sent_bytes},       {"received", &copy.received_bytes},
      {"read", &copy.read_bytes},       {"written", &copy.written_bytes},
      {"pending", &copy.pending},       {"links_lost", &copy.links_lost},
      {"sent_again", &copy.sent_again}, {"unconfirmed", &copy.unconfirmed_bytes}};
  for (const auto& [key, counter] : counters) *counter = from.value(key, std::uint64_t{0});
  // A daemon that does not say it has one only.
  copy.protocol = protocol_of(from.value("protocol", std::string("C")));
  copy.protocol_here = protocol_of(from.value("protocol_here", std::string("C")));
  if (const auto there = from.find("protocol_there"); there != from.end() && !there->is_null())
    copy.protocol_there = protocol_of(there->get<std::string>());
  copy.fill_bytes_per_second = from.value("fill_rate", 0.0);
  if (const auto eta = from.find("fill_eta_s"); eta != from.end() && !eta->is_null())
    copy.fill_eta = std::chrono::seconds(eta->get<std::int64_t>());
  for (const json& link : from.value("links", json::array())) {
    copy.links.push_back({.local = link.value("local", std::string()),
                          .remote = link.value("remote", std::string()),
                          .up = link.value("up", false),
                          .auth = link.value("auth", std::string()),
                          .sent_bytes = link.value("sent", std::uint64_t{0}),
                          .received_bytes = link.value("received", std::uint64_t{0})});
  }
  copy.trouble = from.value("trouble", std::string());
  return copy;
}

}  // namespace

json to_json(const ClusterStatus& status) {
  json all{{"name", status.name},
           {"self", name(status.self)},
           {"joined", status.joined},
           {"serving", status.serving},
           {"view", view_json(status.view)},
           {"waits_for", status.waits_for},
           {"suspect", status.suspect},
           {"split", status.split},
           {"held_back", members_json(status.held_back)},
           {"lease_left_ms", nullptr},
           {"witness_configured", status.witness_configured},
           {"witness_heard", status.witness_heard},
           {"peer_heard", status.peer_heard},
           {"virtual_ip", status.virtual_address},
           {"virtual_ip_here", status.virtual_address_here},
           {"links", json::array()},
           {"units", json::array()},
           {"alarms", status.alarms}};
  if (status.lease_left) all["lease_left_ms"] = status.lease_left->count();
  for (const LinkStatus& link : status.links) all["links"].push_back(link_json(link));
  for (const CopyStatus& copy : status.copies) all["units"].push_back(copy_json(copy));
  return all;
}

json to_json(const Decision& decision) {
  return {{"at", format_utc(decision.at)}, {"view", view_json(decision.view)}, {"what", decision.what}};
}

ClusterStatus status_from_json(const json& from) {
  ClusterStatus status;
  status.name = from.value("name", std::string());
  status.self = member_of(from.value("self", std::string("a")));
  status.joined = from.value("joined", false);
  status.serving = from.value("serving", false);
  status.view = view_from(from.value("view", json::object()));
  status.waits_for = from.value("waits_for", std::string());
  status.suspect = from.value("suspect", false);
  status.split = from.value("split", false);
  status.held_back = members_from(from.value("held_back", json::array()));
  if (const auto left = from.find("lease_left_ms"); left != from.end() && !left->is_null())
    status.lease_left = milliseconds(left->get<std::int64_t>());
  status.witness_configured = from.value("witness_configured", false);
  status.witness_heard = from.value("witness_heard", false);
  status.peer_heard = from.value("peer_heard", false);
  status.virtual_address = from.value("virtual_ip", std::string());
  status.virtual_address_here = from.value("virtual_ip_here", false);
  for (const json& link : from.value("links", json::array())) status.links.push_back(link_from(link));
  for (const json& copy : from.value("units", json::array())) status.copies.push_back(copy_from(copy));
  status.alarms = from.value("alarms", std::vector<std::string>());
  return status;
}

Decision decision_from_json(const json& from) {
  return {.at = parse_utc(from.value("at", std::string())).value_or(std::chrono::system_clock::time_point{}),
          .view = view_from(from.value("view", json::object())),
          .what = from.value("what", std::string())};
}

std::string format_utc(std::chrono::system_clock::time_point at) {
  const auto ms = std::chrono::floor<milliseconds>(at.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(ms >= 0 ? ms / 1000 : (ms - 999) / 1000);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, ms - static_cast<std::int64_t>(seconds) * 1000);
}

std::optional<std::chrono::system_clock::time_point> parse_utc(std::string_view text) {
  std::tm utc{};
  unsigned ms = 0;
  int used = 0;
  const std::string whole(text);
  const int fields = std::sscanf(whole.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d.%3uZ%n", &utc.tm_year, &utc.tm_mon,
                                 &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec, &ms, &used);
  if (fields != 7 || static_cast<std::size_t>(used) != whole.size()) return std::nullopt;
  utc.tm_year -= 1900;
  utc.tm_mon -= 1;
  return std::chrono::system_clock::from_time_t(::timegm(&utc)) + milliseconds(ms);
}

}  // namespace mpath::target::cluster
