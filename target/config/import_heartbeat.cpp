// ha.cf and haresources of Heartbeat into the draft of a pair: its times, its failback, its addresses.
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/units.hpp"
#include "target/config/import_writer.hpp"
#include "target/config/pair_draft.hpp"

namespace mpath::target {
namespace {

struct Known {
  std::string_view key;
  bool lost;
  std::string_view why;
};
constexpr std::string_view logs = "not needed: lines go to standard error, which systemd keeps in the journal";
constexpr std::string_view links =
    "a link is named by an address of each node, not by an interface: add them to address_a and address_b";
constexpr Known known[] = {
    {"logfacility", false, logs},
    {"logfile", false, logs},
    {"debugfile", false, logs},
    {"debug", false, logs},
    {"use_logd", false, logs},
    {"conn_logd_time", false, logs},
    {"udpport", false, "not needed: the port stands with the addresses, 7788 for UDP and TCP"},
    {"bcast", true, links},
    {"mcast", true, links},
    {"serial", true, "links are networks; a third machine as the witness does what a serial line did, and more"},
    {"baud", true, "links are networks; a third machine as the witness does what a serial line did, and more"},
    {"ping", true, "the witness does what a pinged router did, and cannot be mistaken; run mptargetd --witness"},
    {"ping_group", true, "the witness does what a pinged router did, and cannot be mistaken; run mptargetd --witness"},
    {"respawn", true, "there are no helpers; for ipfail the witness stands in"},
    {"apiauth", false, "not needed: the control socket belongs to its owner"},
    {"stonith", true, "with a witness none is needed; without one: on_peer_loss fence, and fence COMMAND"},
    {"stonith_host", true, "with a witness none is needed; without one: on_peer_loss fence, and fence COMMAND"},
    {"watchdog", false, "not needed: a node that hangs loses its lease"},
    {"deadping", true, "nobody is pinged"},
    {"hopfudge", false, "not needed"},
    {"compression", false, "not needed"},
    {"compression_threshold", false, "not needed"},
    {"realtime", false, "not needed"},
    {"coredumps", false, "not needed"},
    {"autojoin", false, "not needed: the pair is two nodes"},
    {"crm", true, "there is no resource manager: units, addresses and the target are one program"},
    {"pacemaker", true, "there is no resource manager: units, addresses and the target are one program"},
};

constexpr std::string_view target_services[] = {"tgtd",        "tgt",      "iscsi-target", "iscsitarget",  "ietd",
                                                "iscsi-scstd", "iscsitgt", "istgt",        "iscsid-target"};

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

std::vector<std::string> split(std::string_view text, std::string_view separator) {
  std::vector<std::string> parts;
  for (;;) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + separator.size());
  }
}

bool is_address(const std::string& text) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, text.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, text.c_str(), bytes) == 1;
}

class HaCfImport {
 public:
  HaCfImport(PairDraft& draft, const PairFile& file) : draft_(draft), file_(file) {}

  void run() {
    unsigned number = 0;
    for (const std::string& line : lines_of(file_.text)) {
      ++number;
      const auto words = import_words(line);
      if (!words.empty()) take(words, {file_.name, number});
    }
    complete_times();
  }

 private:
  void take(const std::vector<std::string>& words, const PairDraft::Spot& spot) {
    const std::string key = import_lower(words[0]);
    const std::string what = joined(words);
    const std::string value = words.size() > 1 ? words[1] : "";
    if (key == "keepalive" || key == "warntime" || key == "deadtime" || key == "initdead") {
      const auto time = parse_duration(value);
      if (!time || time->count() <= 0) return draft_.lost(spot, what, time ? "no time at all" : time.error());
      draft_.settings[key] = format_duration(*time);
      return;
    }
    if (key == "node") return nodes(words, spot);
    if (key == "auto_failback" || key == "nice_failback") return failback(key, import_lower(value), what, spot);
    if (key == "ucast") return ucast(words, spot);
    const auto* const place = std::ranges::find(known, key, &Known::key);
    if (place == std::end(known)) return draft_.lost(spot, what, "is unknown here");
    return place->lost ? draft_.lost(spot, what, place->why) : draft_.note(spot, what, place->why);
  }

  void nodes(const std::vector<std::string>& words, const PairDraft::Spot& spot) {
    for (std::size_t word = 1; word < words.size(); ++word) {
      if (!draft_.knows_host(words[word]))
        draft_.lost(spot, "node " + words[word], "drbd.conf has no resource on this host");
    }
  }

  void failback(const std::string& key, const std::string& value, const std::string& what,
                const PairDraft::Spot& spot) {
    // The older word says the opposite.
    const bool on = key == "nice_failback" ? value == "off" : value == "on";
    if (value != "on" && value != "off") draft_.lost(spot, what, "only on and off are possible: off is used");
    draft_.settings["auto_failback"] = on ? "on" : "off";
  }

  void ucast(const std::vector<std::string>& words, const PairDraft::Spot& spot) {
    draft_.lost(spot, joined(words),
                "which node has this address is not said here: if it is not a link already, add it to address_a or "
                "address_b, and the other node's beside it");
  }

  // Heartbeat's own values for what was left out would not fit between ours.
  void complete_times() {
    auto& settings = draft_.settings;
    if (!settings.contains("keepalive") && !settings.contains("warntime") && !settings.contains("deadtime") &&
        !settings.contains("initdead"))
      return;
    using std::chrono::milliseconds;
    const auto given = [&](const char* key) {
      const auto place = settings.find(key);
      return place == settings.end() ? milliseconds(0) : *parse_duration(place->second);
    };
    const auto complete = [&](const char* key, milliseconds value) {
      settings.emplace(key, format_duration(value));
      return given(key);
    };
    const milliseconds keepalive = complete("keepalive", std::chrono::seconds(2));
    const milliseconds deadtime = complete("deadtime", std::max<milliseconds>(std::chrono::seconds(30), keepalive * 4));
    const milliseconds warntime = complete("warntime", deadtime / 2);
    complete("initdead", deadtime * 2);
    if (keepalive < warntime && warntime < deadtime && deadtime <= given("initdead") &&
        deadtime * 2 / 3 >= keepalive * 2)
      return;
    draft_.lost({file_.name, 0}, "keepalive, warntime, deadtime, initdead",
                "must grow in this order, deadtime to three times keepalive: left out");
    for (const char* key : {"keepalive", "warntime", "deadtime", "initdead"}) settings.erase(key);
  }

  PairDraft& draft_;
  const PairFile& file_;
};

class HaresourcesImport {
 public:
  HaresourcesImport(PairDraft& draft, const PairFile& file) : draft_(draft), file_(file) {}

  void run() {
    std::string whole;
    unsigned number = 0;
    unsigned begin = 1;
    for (std::string line : lines_of(file_.text)) {
      ++number;
      if (whole.empty()) begin = number;
      while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r')) line.pop_back();
      const bool goes_on = line.ends_with('\\');
      if (goes_on) line.back() = ' ';
      whole += line;
      if (goes_on) continue;
      group(whole, {file_.name, begin});
      whole.clear();
    }
    if (!whole.empty()) group(whole, {file_.name, begin});
  }

 private:
  void group(const std::string& line, const PairDraft::Spot& spot) {
    const auto words = import_words(line);
    if (words.empty()) return;
    prefer(words[0], spot);
    for (std::size_t word = 1; word < words.size(); ++word) resource(words[word], spot);
  }

  void prefer(const std::string& host, const PairDraft::Spot& spot) {
    if (!draft_.knows_host(host)) return draft_.lost(spot, host, "drbd.conf has no resource on this host");
    const std::string node = draft_.host(host) == 0 ? "a" : "b";
    const auto [place, fresh] = draft_.settings.emplace("preferred", node);
    if (!fresh && place->second != node)
      draft_.lost(spot, host, fmt::format("one node serves everything: {} is preferred", place->second));
  }

  void resource(const std::string& text, const PairDraft::Spot& spot) {
    const std::vector<std::string> parts = split(text, "::");
    const std::string kind = import_lower(parts[0]);
    const bool bare_address = parts.size() == 1 && is_address(text.substr(0, text.find('/')));
    if (bare_address) return address(text, text, spot);
    if (kind == "ipaddr" || kind == "ipaddr2" || kind == "ipv6addr") {
      if (parts.size() < 2) return draft_.lost(spot, text, "has no address");
      return address(text.substr(text.find("::") + 2), text, spot);  // an IPv6 address has colons of its own
    }
    if (kind == "drbddisk" || kind == "drbdupper") return role(parts, text, spot);
    if (kind == "filesystem") return filesystem(parts, text, spot);
    if (std::ranges::find(target_services, kind) != std::end(target_services))
      return draft_.note(spot, text, "not needed: mptargetd is the target itself");
    draft_.lost(spot, text, "other services do not move with the units");
  }

  // ADDRESS/PREFIX/INTERFACE:LABEL/BROADCAST, of which all but the first may be missing.
  void address(const std::string& spec, const std::string& text, const PairDraft::Spot& spot) {
    const std::vector<std::string> parts = split(spec, "/");
    if (!is_address(parts[0])) return draft_.lost(spot, text, "is no address");
    std::string prefix, interface;
    for (std::size_t at = 1; at < parts.size(); ++at) {
      if (at == 1 && parse_integer(parts[at], 1, 128))
        prefix = parts[at];
      else if (is_address(parts[at]))
        draft_.note(spot, parts[at], "not needed: the broadcast address comes from the prefix");
      else if (interface.empty())
        interface = parts[at].substr(0, parts[at].find(':'));
    }
    if (prefix.empty()) {
      prefix = parts[0].find(':') == std::string::npos ? "32" : "128";
      draft_.lost(spot, text,
                  fmt::format("the prefix was found by routes: give that of the network instead of /{}", prefix));
    }
    draft_.virtual_ip(parts[0], prefix, interface);
  }

  void role(const std::vector<std::string>& parts, const std::string& text, const PairDraft::Spot& spot) {
    const std::string name = parts.size() > 1 ? unit_name_of_path(parts[1]) : "";
    const bool there = std::ranges::any_of(draft_.units, [&name](const PairDraft::Unit& unit) {
      return unit.name == name || unit.name.starts_with(name + "-v");
    });
    if (there) return draft_.note(spot, text, "not needed: all units are served by the node that serves");
    draft_.lost(spot, text, "drbd.conf has no such resource");
  }

  // What is mounted on the nodes was not for initiators.
  void filesystem(const std::vector<std::string>& parts, const std::string& text, const PairDraft::Spot& spot) {
    const std::string why = "nothing is mounted on the nodes";
    draft_.lost(spot, text, why);
    if (parts.size() < 2) return;
    for (PairDraft::Unit& unit : draft_.units) {
      if (unit.device != parts[1]) continue;
      unit.mounted = fmt::format(
          "# {} was mounted on the nodes ({}:{}), most likely for the files of the target: it is not offered to "
          "initiators.",
          unit.device, spot.file, spot.line);
    }
  }

  PairDraft& draft_;
  const PairFile& file_;
};

}  // namespace

void take_ha_cf(PairDraft& draft, const PairFile& file) {
  HaCfImport(draft, file).run();
}

void take_haresources(PairDraft& draft, const PairFile& file) {
  HaresourcesImport(draft, file).run();
}

}  // namespace mpath::target
