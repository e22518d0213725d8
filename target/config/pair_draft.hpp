// The configuration of a pair while it is being gathered from the files of DRBD and Heartbeat.
// Inside target/config only.
//
// Pure.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "target/config/import_pair.hpp"

namespace mpath::target {

class PairDraft {
 public:
  struct Unit {
    std::string name;
    std::string device;               // /dev/drbd1, as others call it
    std::array<std::string, 2> disk;  // on each node
    std::vector<std::string> comments;
    std::string mounted;  // why it is no unit for initiators; empty: it is
  };

  // A place in one of the files, for comments.
  struct Spot {
    const std::string& file;
    unsigned line;
  };

  // Cannot be expressed; is not needed. Into the comments of the cluster section, or of a unit.
  void lost(const Spot& spot, std::string_view what, std::string_view why, Unit* unit = nullptr);
  void note(const Spot& spot, std::string_view what, std::string_view why, Unit* unit = nullptr);

  // The index of a host; the first two that are named are a and b. 2: a third one.
  [[nodiscard]] std::size_t host(std::string_view name);
  [[nodiscard]] bool knows_host(std::string_view name) const;
  void link(std::size_t host, const std::string& address);
  void virtual_ip(const std::string& address, const std::string& prefix, const std::string& interface);

  // Once, when all files were taken.
  void agree(const PairFiles& files);
  [[nodiscard]] Imported finish(const PairFiles& files, const std::function<std::string()>& fresh_uuid) const;

  std::map<std::string, std::string> settings;  // of the cluster section
  std::vector<Unit> units;

 private:
  struct VirtualIp {
    std::string address, prefix, interface;
  };
  [[nodiscard]] std::string cluster_text() const;
  [[nodiscard]] std::string groups_text() const;
  [[nodiscard]] static std::string unit_text(const Unit& unit, const std::string& uuid);

  std::array<std::string, 2> hosts_;
  std::array<std::vector<std::string>, 2> addresses_;
  std::vector<VirtualIp> virtual_ips_;
  std::vector<std::string> comments_;
  unsigned lost_ = 0;
};

// Into the draft, in this order: later files speak of what earlier ones have named.
void take_drbd(PairDraft& draft, const PairFile& file);
void take_ha_cf(PairDraft& draft, const PairFile& file);
void take_haresources(PairDraft& draft, const PairFile& file);

// The words with a blank between them.
[[nodiscard]] std::string joined(const std::vector<std::string>& words);

}  // namespace mpath::target
