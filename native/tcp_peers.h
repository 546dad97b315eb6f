// The ranks of other processes over TCP: a connection for each pair of ranks of a group. What is sent over it is a row of
// messages, each behind a byte that says which it is: `D`, data, of a length that both sides know; or `F`, the last one, a 32-bit
// length and why the sender cannot go on.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "peers.h"
#include "tcp_endpoint.h"

namespace cd {

class TcpPeers : public Peers {
 public:
  // processOf[r] is the process that has rank r of the group, as TcpEndpoint::introduce numbers them. → null where all are here
  static std::unique_ptr<Peers> connect(const std::string& group, int rank, const std::vector<int>& processOf);
  ~TcpPeers() override;

  const std::vector<int>& ranks() const override { return ranks_; }
  void swap(const std::vector<Piece>& outgoing, const std::vector<Piece>& incoming,
            const std::function<void(const std::vector<int>& missing)>& waiting) override;
  void watch(std::function<void(const std::string& why)> failed) override;
  void abort(const std::string& why) override;

  // Of the endpoint's thread: whether somebody has failed while nobody was reading; to be told that somebody has.
  void look();
  void fail(const std::string& why);

 private:
  struct Link {
    Link(int rank, int process) : rank(rank), process(process) {}
    int rank, process, socket = -1;
    std::vector<Piece> out, in;  // of the present swap
    size_t sending = 0, receiving = 0;
    int64_t sent = -1, received = -1;  // bytes of the present piece; -1: not even that it is data
    bool through() const { return sending == out.size() && receiving == in.size(); }
  };
  TcpPeers(const std::string& group, int rank, const std::vector<int>& processOf);
  void connectAll(const std::function<void(const std::vector<int>& missing)>& waiting);
  bool dial(Link& link, const TcpHello& hello);
  void send(Link& link);
  void receive(Link& link);
  std::string heard(Link& link);
  std::string gone(const Link& link) const;
  void farewell();
  void expectGoing();

  const std::string group_;
  const int rank_;
  std::vector<int> ranks_;
  std::vector<Link> links_;
  std::mutex mutex_;  // of the links: whoever reads or writes
  bool connected_ = false, broken_ = false, saidFarewell_ = false;
  std::mutex stateMutex_;  // of what follows
  std::atomic<bool> aborted_ = false;
  std::string why_;
  std::function<void(const std::string& why)> failed_;
};

}  // namespace cd
