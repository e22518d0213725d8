#include "target/config/import_pair.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/config_text.hpp"
#include "base/units.hpp"
#include "target/config/import_writer.hpp"
#include "target/config/pair_draft.hpp"

namespace mpath::target {
namespace {

constexpr std::string_view cluster_name = "pair";
// The order in which a person would write them.
constexpr std::string_view setting_order[] = {"keepalive",       "warntime",        "deadtime",
                                              "initdead",        "auto_failback",   "preferred",
                                              "resync_rate_max", "resync_rate_min", "stream_auth"};

std::string bracketed(const std::string& address) {
  return address.find(':') == address.npos ? address : "[" + address + "]";
}

std::string listed(const std::vector<std::string>& addresses) {
  std::string text;
  for (const std::string& address : addresses) text += (text.empty() ? "" : ", ") + bracketed(address);
  return text;
}

}  // namespace

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  // A comment is one line.
  std::ranges::replace(text, '\n', ' ');
  return text;
}

void PairDraft::lost(const Spot& spot, std::string_view what, std::string_view why, Unit* unit) {
  ++lost_;
  note(spot, what, why, unit);
}

void PairDraft::note(const Spot& spot, std::string_view what, std::string_view why, Unit* unit) {
  (unit != nullptr ? unit->comments : comments_)
      .push_back(fmt::format("# {}:{}: {}: {}", spot.file, spot.line, what, why));
}

std::size_t PairDraft::host(std::string_view name) {
  for (std::size_t index = 0; index < hosts_.size(); ++index) {
    if (hosts_[index].empty()) hosts_[index] = name;
    if (import_lower(hosts_[index]) == import_lower(name)) return index;
  }
  return hosts_.size();
}

bool PairDraft::knows_host(std::string_view name) const {
  return std::ranges::any_of(hosts_,
                             [name](const std::string& known) { return import_lower(known) == import_lower(name); });
}

void PairDraft::link(std::size_t host, const std::string& address) {
  auto& known = addresses_[host];
  if (std::ranges::find(known, address) == known.end()) known.push_back(address);
}

void PairDraft::virtual_ip(const std::string& address, const std::string& prefix, const std::string& interface) {
  virtual_ips_.push_back({address, prefix, interface});
}

// Each was fine where it stood; together they would be refused.
void PairDraft::agree(const PairFiles& files) {
  const auto value = [this](const char* key) {
    const auto place = settings.find(key);
    return place == settings.end() ? std::string() : place->second;
  };
  if (value("auto_failback") == "on" && !settings.contains("preferred")) {
    lost({files.ha->name, 0}, "auto_failback on", "without haresources nobody is preferred: off is used");
    settings["auto_failback"] = "off";
  }
  if (settings.contains("resync_rate_max") && settings.contains("resync_rate_min") &&
      *parse_size(value("resync_rate_min")) > *parse_size(value("resync_rate_max"))) {
    lost({files.drbd.name, 0}, "c-min-rate " + value("resync_rate_min"), "is more than the highest rate: left out");
    settings.erase("resync_rate_min");
  }
  const std::size_t links = std::min(addresses_[0].size(), addresses_[1].size());
  for (auto& addresses : addresses_) {
    for (; addresses.size() > links; addresses.pop_back())
      lost({files.drbd.name, 0}, "address " + addresses.back(), "the other node has none on the same link");
  }
}

std::string PairDraft::cluster_text() const {
  std::string text = fmt::format("cluster {} {{\n", cluster_name);
  const auto line = [&text](const std::string& each) { text += "  " + each + "\n"; };
  for (const std::string& comment : comments_) line(comment);
  line("host_a " + config_quoted(hosts_[0]));
  line("host_b " + config_quoted(hosts_[1]));
  line("# The same on all members: (umask 077; openssl rand -hex 32 > /etc/mptarget/cluster.key)");
  line("key_file /etc/mptarget/cluster.key");
  if (addresses_[0].size() == 1)
    line("# Give each node a second address on another cable and switch, if there is one.");
  line("address_a " + listed(addresses_[0]));
  line("address_b " + listed(addresses_[1]));
  line(
      "# Heartbeat took over whenever its peer was silent, and could split the pair. Here a third machine has a vote:");
  line("# mptargetd --witness there, and its address here. Without it the pair waits for a node that is lost.");
  line("#witness ADDRESS");
  if (settings.contains("deadtime"))
    line("# These were Heartbeat's. Without the next four lines a takeover needs less than a second.");
  for (const std::string_view key : setting_order) {
    if (const auto value = settings.find(std::string(key)); value != settings.end())
      line(fmt::format("{} {}", key, value->second));
  }
  for (const VirtualIp& ip : virtual_ips_)
    line(fmt::format("virtual_ip {}/{}{}", ip.address, ip.prefix, ip.interface.empty() ? "" : " dev " + ip.interface));
  return text + "}\n";
}

std::string PairDraft::groups_text() const {
  if (!virtual_ips_.empty()) {
    std::string text = "portal_group 1 {\n";
    for (const VirtualIp& ip : virtual_ips_) text += "  portal " + bracketed(ip.address) + "\n";
    return text +
           "  virtual yes\n}\n"
           "# Initiators with multipath need no virtual IP: they log in to both nodes, each with a group of its own:\n"
           "#portal_group 2 { portal ADDRESS; node a }\n#portal_group 3 { portal ADDRESS; node b }\n";
  }
  std::string text = "# The addresses of the replication: put those here that initiators reach.\n";
  for (std::size_t index = 0; index < hosts_.size(); ++index) {
    text += fmt::format("portal_group {} {{\n", index + 1);
    for (const std::string& address : addresses_[index]) text += "  portal " + bracketed(address) + "\n";
    text += fmt::format("  node {}\n}}\n", index == 0 ? 'a' : 'b');
  }
  return text;
}

std::string PairDraft::unit_text(const Unit& unit, const std::string& uuid) {
  // Commented out as a whole when it is not for initiators.
  const std::string_view mark = unit.mounted.empty() ? "" : "#";
  std::string text;
  if (!unit.mounted.empty()) text += unit.mounted + "\n";
  text += fmt::format("{}lu {} {{\n", mark, unit.name);
  for (const std::string& comment : unit.comments) text += "  " + comment + "\n";
  text += fmt::format("{0}  path {1}\n{0}  type block\n{0}  uuid {2}\n{0}  replicated yes\n{0}}}\n", mark,
                      config_quoted(unit.disk[0]), uuid);
  return text;
}

Imported PairDraft::finish(const PairFiles& files, const std::function<std::string()>& fresh_uuid) const {
  Imported result{.lost = lost_};
  result.text = fmt::format("# From {}", files.drbd.name);
  for (const auto* file : {&files.ha, &files.haresources}) {
    if (*file) result.text += ", " + (*file)->name;
  }
  result.text += ".\n";
  result.readable = !units.empty() && !addresses_[0].empty() && !addresses_[1].empty();
  if (!result.readable) {
    for (const std::string& comment : comments_) result.text += comment + "\n";
    return result;
  }
  result.text += cluster_text() + groups_text();
  std::string luns;
  for (const Unit& unit : units) {
    result.text += unit_text(unit, fresh_uuid());
    if (!unit.mounted.empty()) continue;
    luns += fmt::format("#  lun NUMBER {}{}\n", unit.name, unit.device.empty() ? "" : "   # was " + unit.device);
  }
  result.text +=
      "# What initiators log in to stands in ietd.conf or targets.conf: mptargetctl import --ietd, or --tgt. There the "
      "devices\n# become units of the same numbers:\n#target IQN {\n" +
      luns + "#}\n";
  return result;
}

Imported import_pair(const PairFiles& files, const std::function<std::string()>& fresh_uuid) {
  PairDraft draft;
  take_drbd(draft, files.drbd);
  if (files.ha) take_ha_cf(draft, *files.ha);
  if (files.haresources) take_haresources(draft, *files.haresources);
  draft.agree(files);
  return draft.finish(files, fresh_uuid);
}

}  // namespace mpath::target
